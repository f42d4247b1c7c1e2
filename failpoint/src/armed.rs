//! A process that is to die at a point.

use crate::{Mutation, Point};
use std::io::Write as _;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

/// The environment variable that arms a process: a point's name, a colon, and at which reach it dies, from 1.
pub const VARIABLE: &str = "ADWRIGHT_FAILPOINT";

/// The environment variable that has a process break a promise: a [`Mutation`]'s name.
pub const MUTATION: &str = "ADWRIGHT_MUTATION";

/// How far what was begun gets: a small file is written by then and not yet synced.
const HEAD_START: Duration = Duration::from_micros(300);

/// What this process dies of, if it is to.
static DEATH: OnceLock<Death> = OnceLock::new();

#[derive(Debug)]
struct Death {
    point: Point,
    at: u64,
    reached: AtomicU64,
}

/// Reads from the environment what this process dies of and which promise it breaks. Later calls do nothing.
///
/// # Errors
/// What is wrong with a variable.
pub fn arm() -> Result<(), String> {
    if let Some(text) = variable(VARIABLE) {
        let death = read(&text).ok_or_else(|| {
            let names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
            format!(
                "{VARIABLE}={text:?} is no failpoint; expected a name and a reach such as {}:1, of {}",
                names[0],
                names.join(", ")
            )
        })?;
        DEATH.get_or_init(|| death);
    }
    if let Some(text) = variable(MUTATION) {
        let mutation = Mutation::named(&text).ok_or_else(|| {
            let all = Mutation::SIMULATED.iter().chain(Mutation::OF_WEIGHTS);
            let names: Vec<_> = all.map(|mutation| mutation.name()).collect();
            format!(
                "{MUTATION}={text:?} is no mutation; expected one of {}",
                names.join(", ")
            )
        })?;
        mutation.commit();
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "only a test build can be told to die or to break"
)]
fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

fn read(text: &str) -> Option<Death> {
    let (name, at) = text.split_once(':')?;
    let (point, at) = (
        *Point::ALL.iter().find(|point| point.name() == name)?,
        at.parse().ok()?,
    );
    (at > 0).then_some(Death {
        point,
        at,
        reached: AtomicU64::new(0),
    })
}

/// The process is at `point`; it dies here if it was armed so.
pub fn reach(point: Point) {
    if let Some(death) = DEATH.get()
        && death.is_due(point)
    {
        die(death);
    }
}

/// Does `work`, and dies in the middle of it if the process was armed so: when it has begun and is not done, or else when it is
/// done.
pub async fn during<F: Future>(point: Point, work: F) -> F::Output {
    let Some(death) = DEATH.get().filter(|death| death.is_due(point)) else {
        return work.await;
    };
    let mut work = pin!(work);
    let () = std::future::poll_fn(|context| {
        let _begun = work.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    // What it has handed to other threads and to the system goes on until the signal is there.
    std::thread::sleep(HEAD_START);
    die(death)
}

impl Death {
    fn is_due(&self, point: Point) -> bool {
        point == self.point && self.reached.fetch_add(1, Ordering::Relaxed) + 1 == self.at
    }
}

fn die(death: &Death) -> ! {
    // Whoever armed this process learns from the line that it was no other death.
    let line = format!("failpoint {} at reach {}\n", death.point.name(), death.at);
    let _ = std::io::stderr().write_all(line.as_bytes());
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_dies_at_the_named_reach_of_the_named_point_and_at_no_other() {
        let death = read("learner.submit.durable:2").unwrap();
        let reaches = [
            Point::Leased,
            Point::SubmitDurable,
            Point::SubmitDurable,
            Point::SubmitDurable,
        ];
        assert_eq!(
            reaches.map(|point| death.is_due(point)),
            [false, false, true, false]
        );
    }

    #[test]
    fn what_names_no_point_or_no_reach_arms_nothing() {
        for wrong in [
            "",
            "learner.submit.durable",
            "learner.submit:1",
            "actor.scored:0",
            "actor.scored:x",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn names_are_unlike_and_begin_with_their_role() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert!(
            Point::ALL
                .iter()
                .all(|point| point.name().starts_with(point.role()))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
