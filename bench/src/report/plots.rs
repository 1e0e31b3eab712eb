//! The plots of the report, as SVG: one line a system, both axes logarithmic.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::job::{Result, System};
use crate::report::{Results, Row};

const SIZE: (u32, u32) = (820, 480);

/// A plot and its axes.
pub struct Plot {
    /// The file's name, without its ending.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    cases: &'static [&'static str],
    x: (&'static str, fn(&Row) -> f64),
    y: (&'static str, fn(&Row) -> Option<f64>),
}

/// All plots, in the order of the report.
pub const PLOTS: [Plot; 6] = [
    Plot {
        name: "drain-by-number",
        title: "Receiving and archiving messages of 1 KB",
        cases: &["drain_small"],
        x: ("messages that wait", Row::count),
        y: ("messages/s", |row| Some(row.per_s)),
    },
    Plot {
        name: "drain-cpu",
        title: "Client CPU for each message of 1 KB received",
        cases: &["drain_small"],
        x: ("messages that wait", Row::count),
        y: ("CPU a message, us", |row| Some(row.cpu_us_each)),
    },
    Plot {
        name: "drain-by-size",
        title: "Receiving and archiving messages of other sizes",
        cases: &["drain_small", "drain_mixed", "drain_big"],
        x: ("mean size, bytes", mean_size),
        y: ("MB/s", |row| (row.case != "drain_small" || row.n == 1_000).then(|| row.mb_per_s())),
    },
    Plot {
        name: "send-by-size",
        title: "Sending messages to smtp-sink",
        cases: &["send_small", "send_big"],
        x: ("size, bytes", mean_size),
        y: ("MB/s", |row| Some(row.mb_per_s())),
    },
    Plot {
        name: "mailboxes-memory",
        title: "Memory of live mailboxes",
        cases: &["mailboxes"],
        x: ("mailboxes", Row::count),
        y: ("resident, MB", |row| row.rss_mb),
    },
    Plot {
        name: "mailboxes-cpu",
        title: "CPU of live mailboxes at rest",
        cases: &["mailboxes"],
        x: ("mailboxes", Row::count),
        y: ("percent of one core", |row| row.rest_cores.map(|cores| cores * 100.0)),
    },
];

type Points = Vec<(f64, f64)>;

fn mean_size(row: &Row) -> f64 {
    row.mb_per_s() * 1e6 / row.per_s
}

impl Plot {
    /// Draws the plot into a folder; returns `false` without rows to draw.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn draw(&self, results: &Results, folder: &Path) -> Result<bool> {
        let lines: Vec<_> =
            System::ALL.iter().map(|&system| (system, self.points(results, system))).collect();
        let lines: Vec<_> = lines.into_iter().filter(|(_, points)| !points.is_empty()).collect();
        if lines.is_empty() {
            return Ok(false);
        }
        fs::create_dir_all(folder)?;
        self.draw_lines(&lines, &folder.join(format!("{}.svg", self.name)))?;
        Ok(true)
    }

    fn points(&self, results: &Results, system: System) -> Points {
        let rows = results.rows.iter().filter(|row| row.system == system && self.cases.contains(&&*row.case));
        let mut points: Points = rows.filter_map(|row| Some(((self.x.1)(row), (self.y.1)(row)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }

    fn draw_lines(&self, lines: &[(System, Points)], path: &Path) -> Result<()> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let all = || lines.iter().flat_map(|(_, points)| points);
        let (mut x, y) = (around(all().map(|point| point.0)), around(all().map(|point| point.1)));
        // Room for the labels of the lines.
        x.end *= (x.end / x.start).powf(0.22);
        let mut builder = ChartBuilder::on(&area);
        builder.caption(self.title, ("sans-serif", 18)).margin(12);
        let builder = builder.x_label_area_size(44).y_label_area_size(70);
        let mut chart = builder.build_cartesian_2d(x.log_scale(), y.log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x.0).y_desc(self.y.0).light_line_style(WHITE.mix(0.0));
        mesh.x_label_formatter(&plain).y_label_formatter(&plain).draw()?;
        for (system, points) in lines {
            let color = color(*system);
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(width(*system)));
            chart.draw_series(line.point_size(3))?.label(system.name()).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], color.stroke_width(width(*system)))
            });
        }
        let mut labels = chart.configure_series_labels();
        labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
        Ok(area.present()?)
    }
}

/// Returns a range with some space at both ends.
fn around(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
    let least = least.max(f64::MIN_POSITIVE);
    least / 1.6..most.max(least) * 1.6
}

/// Formats a number as short as possible; by reference, as plotters passes it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn plain(value: &f64) -> String {
    match *value {
        value if value >= 1e6 => format!("{}M", value / 1e6),
        value if value >= 1e3 => format!("{}k", value / 1e3),
        value => format!("{value}"),
    }
}

fn width(system: System) -> u32 {
    if system == System::Pymail { 3 } else { 1 }
}

/// The palette of Okabe and Ito, which the colour-blind can tell apart.
fn color(system: System) -> RGBColor {
    match system {
        System::Pymail => RGBColor(213, 94, 0),
        System::Subprocess => RGBColor(204, 121, 167),
        System::Imap | System::Lettre => RGBColor(0, 114, 178),
        System::AsyncImap | System::MailSend => RGBColor(230, 159, 0),
        System::IoImap | System::IoSmtp => RGBColor(86, 180, 233),
        System::Python => RGBColor(0, 158, 115),
        System::Floor | System::SmtpSource => BLACK,
    }
}
