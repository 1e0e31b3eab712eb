//! A recorder that keeps all values, as an exporter would.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label};
use metrics::{Metadata, SharedString, Unit};
use parking_lot::Mutex;

/// Runs before each value is recorded.
type Hook = Arc<dyn Fn() + Send + Sync>;

/// The recorder of this process.
#[derive(Clone, Default)]
pub struct Recorder(Arc<State>);

#[derive(Default)]
struct State {
    units: Mutex<BTreeMap<String, Unit>>,
    values: Mutex<BTreeMap<Series, f64>>,
    /// The hooks of servers, by their label.
    hooks: Mutex<BTreeMap<String, Hook>>,
}

/// A name, and the labels `protocol` and `server`.
pub type Series = (String, Vec<(String, String)>);

impl Recorder {
    /// Returns the recorder, which is installed by the first call.
    pub fn installed() -> &'static Self {
        static INSTALLED: LazyLock<Recorder> = LazyLock::new(|| {
            let recorder = Recorder::default();
            assert!(metrics::set_global_recorder(recorder.clone()).is_ok(), "no other recorder is installed");
            recorder
        });
        &INSTALLED
    }

    /// Returns the values of one server, by name.
    pub fn of(&self, protocol: &str, server: &str) -> BTreeMap<String, f64> {
        let labels = [("protocol", protocol), ("server", server)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let values = self.0.values.lock();
        let ours = values.iter().filter(|((_, its), _)| *its == labels);
        ours.map(|((name, _), value)| (name.clone(), *value)).collect()
    }

    /// Returns the units of all metrics that are described.
    pub fn units(&self) -> BTreeMap<String, Unit> {
        self.0.units.lock().clone()
    }

    /// Returns all names and labels so far.
    pub fn series(&self) -> Vec<Series> {
        self.0.values.lock().keys().cloned().collect()
    }

    /// Runs `hook` on the thread of each value of this server, or none any more.
    pub fn hook(&self, server: &str, hook: Option<Hook>) {
        match hook {
            Some(hook) => self.0.hooks.lock().insert(server.to_owned(), hook),
            None => self.0.hooks.lock().remove(server),
        };
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.0.units.lock().insert(name.as_str().to_owned(), unit.expect("a unit"));
    }

    fn value(&self, key: &Key) -> Arc<Value> {
        let labels = key.labels().map(|label: &Label| (label.key().to_owned(), label.value().to_owned()));
        Arc::new(Value { series: (key.name().to_owned(), labels.collect()), recorder: self.clone() })
    }
}

/// A handle to one value.
struct Value {
    series: Series,
    recorder: Recorder,
}

impl Value {
    fn add(&self, change: f64) {
        let State { hooks, values, .. } = &*self.recorder.0;
        let server = self.series.1.iter().find(|(key, _)| key == "server").expect("a label");
        let hook = hooks.lock().get(&server.1).cloned();
        if let Some(hook) = hook {
            hook();
        }
        *values.lock().entry(self.series.clone()).or_default() += change;
    }
}

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {
        unreachable!("several handles have one counter");
    }
}

impl GaugeFn for Value {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("several handles have one gauge");
    }
}

/// Counts the durations.
impl HistogramFn for Value {
    fn record(&self, value: f64) {
        assert!(value >= 0.0);
        self.add(1.0);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key))
    }
}
