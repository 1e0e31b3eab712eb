//! A process that runs cases, one after the other, so that a leak shows, and its case.

use std::io::{self, BufRead as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pymail::Message;
use serde::{Deserialize, Serialize};

use crate::app::{App, DEADLINE, Diary, make_dead_letter, receive_the_rest};
use crate::case::Case;
use crate::checker::{self, Planted, Verdict};
use crate::dead::check_redriven;
use crate::idle;
use crate::leaks::Before;
use crate::scenario::{Scenario, Step, Verb};
use crate::support::fault_proxy::Protocol;
use crate::witness::Witness;
use crate::world::{Kind, World};

/// A task of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// The dialogue of a clean run.
    Learn(Scenario),
    /// A case.
    Run(Case),
}

/// A worker's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The commands, and the verdict on the clean run.
    Learnt(Vec<Step>, Verdict),
    /// The verdict, if the fault struck.
    Ran(Option<Verdict>),
    /// The case itself failed.
    Broken(String),
}

/// Reads the world, then tasks, one a line, and answers each with a line, until there are no more.
pub fn run() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let world: World = serde_json::from_str(&lines.next().ok_or(io::ErrorKind::UnexpectedEof)??)?;
    warm_up(&world)?;
    for (n, line) in lines.enumerate() {
        let task: Task = serde_json::from_str(&line?)?;
        let user = format!("case{}-{n}@example.test", std::process::id());
        let answer = catch_unwind(AssertUnwindSafe(|| done(&task, &world, &user)));
        let answer = answer.unwrap_or_else(|_| Ok(Answer::Broken("it panicked".into())));
        let answer = answer.unwrap_or_else(|error| Answer::Broken(error.to_string()));
        writeln!(io::stdout(), "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

/// Makes the first connections of the process by each protocol and each authority, which take longer than later ones.
fn warm_up(world: &World) -> io::Result<()> {
    let kinds = [Kind::Move, Kind::NoMove, Kind::NoUidplus, Kind::Pipelining];
    kinds.into_iter().try_for_each(|kind| {
        let case = Case::clean(Scenario { verb: Verb::Stop, kind, implicit_tls: true });
        run_case(&case, world, &format!("case{}@example.test", std::process::id())).map(drop)
    })
}

fn done(task: &Task, world: &World, user: &str) -> io::Result<Answer> {
    match task {
        Task::Learn(scenario) => {
            let (steps, _, verdict) = run_case(&Case::clean(*scenario), world, user)?;
            Ok(Answer::Learnt(steps, verdict))
        }
        Task::Run(case) => {
            let (_, struck, verdict) = run_case(case, world, user)?;
            Ok(Answer::Ran(struck.then_some(verdict)))
        }
    }
}

/// Runs a case; returns the dialogue of the first connection, `true` if the fault struck, and the outcome.
fn run_case(case: &Case, world: &World, user: &str) -> io::Result<(Vec<Step>, bool, Verdict)> {
    let scenario = case.scenario;
    let place = world.place(scenario.kind);
    let before = Before::look();
    let proxy = place.proxy(scenario.security());
    if case.times > 0 {
        proxy.plan(case.plan(DEADLINE));
    }
    let struck = || case.times == 0 || proxy.hits() > 0;
    // On a machine so busy that the first connection times out, the fault is never reached.
    let is_over = || case.times == 1 && proxy.exchanges().iter().any(|it| it.connection > 1);
    let app = App {
        scenario,
        ends: case.ends(),
        user,
        place,
        port: proxy.port(),
        struck: &|| struck() || is_over(),
        idles: &|| {
            let is_met = case.times > 0 && (proxy.hits() > 0 || is_over());
            is_met || proxy.exchanges().iter().any(|it| it.command == "IDLE" && it.down > 0)
        },
    };
    let (mut diary, mut verdict) = (Diary::of(case), Verdict::default());
    let mut planted = Planted::plant(&mut Witness::login(place.inbox, user)?, &planted(scenario))?;
    if scenario.verb == Verb::Idle {
        planted.expect(idle::LATE, idle::LATE_BODY);
    }
    if scenario.verb == Verb::Redrive {
        make_dead_letter(user, place);
    }
    if scenario.kind.protocol() == Protocol::Imap {
        app.receive(&mut diary);
    } else {
        app.send(&mut diary, &to_send(scenario, user));
    }
    let exchanges = proxy.exchanges();
    let steps = exchanges.iter().filter(|it| it.connection == 1).map(Step::of).collect();
    let was_struck = struck();
    drop(proxy); // The server has carried out all commands.
    if let Some(queue) = &place.queue {
        checker::wait_for_delivery(queue, user);
        let inbox = Witness::login(place.inbox, user)?.list("INBOX")?;
        checker::check_sent(&inbox, &diary, case.may_copy(), &mut verdict);
        receive_the_rest(scenario.verb, user, place, &mut diary);
        checker::check_received(&inbox, &diary, &mut verdict);
    } else {
        receive_the_rest(scenario.verb, user, place, &mut diary);
        let mut witness = Witness::login(place.inbox, user)?;
        planted.check_ours(&mut witness, &diary, case.unwanted(), &mut verdict)?;
        if case.unwanted().is_some() {
            planted.check_dead(case, &mut witness, &diary, &mut verdict)?;
        }
        if scenario.verb == Verb::Redrive {
            check_redriven(&mut witness, &diary, &mut verdict)?;
        }
    }
    planted.check_foreign(&mut Witness::login(place.inbox, user)?, &mut verdict)?;
    verdict.take_over(&mut diary);
    before.check(&mut verdict);
    Ok((steps, was_struck, verdict))
}

fn planted(scenario: Scenario) -> Vec<(&'static str, Vec<u8>)> {
    if scenario.kind.protocol() == Protocol::Smtp {
        return Vec::new();
    }
    if scenario.verb == Verb::Idle {
        return vec![("one", b"a".to_vec())];
    }
    if scenario.verb == Verb::Cut {
        return vec![("one", b"a".to_vec()), ("two", b"} A1 OK\r\n)\r\n".to_vec())];
    }
    let large = if scenario.verb == Verb::FetchLarge { 150_000 } else { 3_000 };
    vec![("one", b"a".to_vec()), ("two", vec![7; large]), ("three", "} A1 OK\r\n)\r\n".into())]
}

fn to_send(scenario: Scenario, user: &str) -> Vec<Message> {
    let bodies = ["hello", ".\r\nQUIT\r\n", "\0\u{fffd}"];
    let most = if matches!(scenario.verb, Verb::SendAll | Verb::Resend) { 3 } else { 1 };
    let message = |(n, body): (usize, &str)| Message::new(format!("message {n}"), user, user, body);
    bodies.into_iter().enumerate().take(most).map(message).collect()
}
