//! A run's processes for as long as is asked, how much memory they hold meanwhile, and how the ledger grows.
//!
//! What a process holds is its resident set, read from the system. Its growth is that of the last tenth of the time over the
//! second: in the first one caches fill.

use super::fleet::Fleet;
use super::report::Process;
use super::roles::Roles;
use super::training::interrupted;
use crate::locations;
use crate::observer::Observer;
use crate::progress::Progress;
use anyhow::{Context as _, anyhow, bail};
use proto::tls::Transport;
use serde::Serialize;
use std::time::{Duration, Instant};
use store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

/// Readings of each process.
const READINGS: u32 = 200;

/// What a soak comes to.
#[derive(Debug, Serialize)]
pub(crate) struct SoakFigures {
    seed: u64,
    seconds: f64,
    /// Versions published meanwhile.
    versions: u64,
    /// Pairs submitted meanwhile.
    pairs: u64,
    /// What the ledger takes in the run's store, in bytes and in files.
    ledger_bytes: Growth,
    ledger_files: Growth,
    /// The largest growth of any process, as a share.
    growth_max: f64,
    processes: Vec<Resident>,
}

/// A size when the actors had started, and when the time was over.
#[derive(Debug, PartialEq, Serialize)]
struct Growth {
    start: u64,
    end: u64,
}

/// One process.
#[derive(Debug, Serialize)]
struct Resident {
    role: String,
    /// Medians of resident bytes over the second and the last tenth of the time.
    early_bytes: u64,
    late_bytes: u64,
    /// `late / early - 1`.
    growth: f64,
    /// Every reading in bytes, evenly spaced.
    readings: Vec<u64>,
}

/// Lets the roles work for `time`, and tells what was measured before anything else is done.
///
/// # Errors
/// When a process ends, its memory cannot be read, or `shutdown` comes first; what `tell` fails with; when a process does not drain.
/// No process is left running.
pub(super) async fn soak(
    roles: &Roles<'_>,
    time: Duration,
    progress: &Progress,
    shutdown: &CancellationToken,
    tell: impl FnOnce(&SoakFigures) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut fleet = tokio::select! {
        started = Fleet::start(roles) => started?,
        () = shutdown.cancelled() => return Err(interrupted()),
    };
    let watched = tokio::select! {
        watched = watch(roles, &mut fleet, time, progress) => watched,
        () = shutdown.cancelled() => Err(interrupted()),
    };
    conclude(fleet, watched, tell).await
}

/// Tells what was measured and ends the processes.
async fn conclude(
    mut fleet: Fleet,
    watched: anyhow::Result<SoakFigures>,
    tell: impl FnOnce(&SoakFigures) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match watched {
        Ok(figures) => {
            // First: whatever happens over the end, an hour's figures are out.
            let told = tell(&figures);
            let failures = fleet.stop().await;
            told?;
            if !failures.is_empty() {
                bail!("not every process drained: {}", failures.join("; "));
            }
            Ok(())
        }
        Err(error) => {
            fleet.abandon().await;
            Err(error)
        }
    }
}

async fn watch(
    roles: &Roles<'_>,
    fleet: &mut Fleet,
    time: Duration,
    progress: &Progress,
) -> anyhow::Result<SoakFigures> {
    fleet.start_actors(roles).await?;
    let processes = fleet.processes();
    let observer = Observer::connect("demo", &Transport::plain(), fleet.learner_endpoint()).await?;
    let (store, ledger) = ledger(roles)?;
    let begun = Instant::now();
    let (bytes, files) = usage(&store, &ledger).await?;
    let readings = tokio::select! {
        readings = read(&processes, time, progress) => readings?,
        ended = fleet.ended_early(progress) => return Err(ended),
    };
    let status = observer.status().await?;
    let (bytes_then, files_then) = usage(&store, &ledger).await?;
    let figures = processes.into_iter().zip(readings);
    let processes: Vec<Resident> = figures
        .map(|(process, readings)| resident(process, readings))
        .collect();
    Ok(SoakFigures {
        seed: roles.config.run.seed,
        seconds: begun.elapsed().as_secs_f64(),
        versions: status.version.number,
        pairs: status.outcomes.pairs,
        ledger_bytes: Growth {
            start: bytes,
            end: bytes_then,
        },
        ledger_files: Growth {
            start: files,
            end: files_then,
        },
        growth_max: processes
            .iter()
            .map(|process| process.growth)
            .fold(f64::MIN, f64::max),
        processes,
    })
}

/// The run's store, and where in it the ledger is.
fn ledger(roles: &Roles<'_>) -> anyhow::Result<(Store, String)> {
    let place = roles.files.store.display().to_string();
    let store = locations::open_store("store.url", &place, &StoreSettings::default());
    let store = store.map_err(|failure| anyhow!("{failure}"))?;
    Ok((store, format!("runs/{}/ledger", roles.config.run.id)))
}

/// Bytes and files below a key.
async fn usage(store: &Store, key: &str) -> anyhow::Result<(u64, u64)> {
    let mut listing = store.listing(key)?;
    let (mut bytes, mut files) = (0, 0);
    while let Some(found) = listing.next().await? {
        bytes += found.size;
        files += 1;
    }
    Ok((bytes, files))
}

/// Readings of each process, evenly over `time`.
async fn read(processes: &[Process], time: Duration, progress: &Progress) -> anyhow::Result<Vec<Vec<u64>>> {
    let mut stage = progress.stage("soak");
    let mut every = tokio::time::interval(time / READINGS);
    every.tick().await;
    let mut readings = vec![vec![]; processes.len()];
    for reading in 1..=READINGS {
        every.tick().await;
        stage.update(reading.into(), READINGS.into(), "readings");
        for (process, readings) in processes.iter().zip(&mut readings) {
            readings.push(resident_bytes(process)?);
        }
    }
    Ok(readings)
}

fn resident_bytes(process: &Process) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/status", process.pid);
    let status = std::fs::read_to_string(&path);
    let status = status.with_context(|| format!("cannot read the {}'s memory from {path}", process.role))?;
    parse_resident(&status).with_context(|| format!("{path} does not tell resident memory"))
}

/// From the line `VmRSS:   123 kB`.
pub(crate) fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

fn resident(process: Process, readings: Vec<u64>) -> Resident {
    let tenth = readings.len().div_ceil(10);
    let early = median(&readings[tenth..2 * tenth]);
    let late = median(&readings[readings.len() - tenth..]);
    Resident {
        role: process.role,
        early_bytes: early,
        late_bytes: late,
        growth: late as f64 / early as f64 - 1.0,
        readings,
    }
}

fn median(readings: &[u64]) -> u64 {
    let mut sorted = readings.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fleet::examples::fleet;

    fn figures() -> SoakFigures {
        let none = || Growth { start: 0, end: 0 };
        SoakFigures {
            seed: 1,
            seconds: 3600.0,
            versions: 813,
            pairs: 208_384,
            ledger_bytes: none(),
            ledger_files: none(),
            growth_max: 0.0,
            processes: vec![],
        }
    }

    #[tokio::test]
    async fn the_figures_are_out_before_processes_are_asked_to_stop_and_whatever_they_do_then() {
        let place = tempfile::tempdir().unwrap();
        let ended = place.path().join("ended");
        for (status, drains) in [(0, true), (3, false)] {
            let script = format!("cat > /dev/null; touch {}; exit {status}", ended.display());
            let fleet = fleet(place.path(), &script, &["cat > /dev/null"], Duration::ZERO);
            let mut told = None;
            let tell = |figures: &SoakFigures| {
                told = Some((figures.versions, ended.exists()));
                Ok(())
            };
            let concluded = conclude(fleet, Ok(figures()), tell).await;
            assert_eq!(told, Some((813, false)));
            assert_eq!(
                (concluded.is_ok(), ended.exists()),
                (drains, true),
                "{concluded:?}"
            );
            std::fs::remove_file(&ended).unwrap();
        }
    }

    #[tokio::test]
    async fn figures_that_nobody_reads_leave_no_process_behind() {
        let place = tempfile::tempdir().unwrap();
        let ended = place.path().join("ended");
        let script = format!("cat > /dev/null; touch {}", ended.display());
        let fleet = fleet(place.path(), &script, &["cat > /dev/null"], Duration::ZERO);
        let concluded = conclude(fleet, Ok(figures()), |_| bail!("nobody reads")).await;
        assert!(concluded.unwrap_err().to_string().contains("nobody reads"));
        assert!(ended.exists());
    }

    #[tokio::test]
    async fn what_lies_below_a_key_is_counted_and_nothing_else() {
        let store = Store::open("memory:///").unwrap();
        for (key, bytes) in [
            ("runs/demo/ledger/wal/1", 3),
            ("runs/demo/ledger/compacted/2", 4),
            ("runs/demo/images/3", 5),
        ] {
            store.put(key, vec![0; bytes]).await.unwrap();
        }
        assert_eq!(usage(&store, "runs/demo/ledger").await.unwrap(), (7, 2));
        assert_eq!(usage(&store, "runs/other/ledger").await.unwrap(), (0, 0));
    }

    #[test]
    fn resident_memory_is_read_as_the_system_writes_it() {
        let status = "Name:\tadwright\nVmHWM:\t  200 kB\nVmRSS:\t   123 kB\nThreads:\t4\n";
        assert_eq!(parse_resident(status), Some(123 * 1024));
        assert_eq!(parse_resident("Name:\tadwright\n"), None);
    }

    #[test]
    fn growth_leaves_out_the_first_tenth_and_single_peaks() {
        let mut readings = vec![100; 20];
        (readings[0], readings[1]) = (10, 10);
        (readings[18], readings[19]) = (110, 110);
        let process = Process {
            role: "actor".into(),
            pid: 1,
            endpoint: String::new(),
        };
        let resident = resident(process, readings);
        assert_eq!((resident.early_bytes, resident.late_bytes), (100, 110));
        assert!((resident.growth - 0.1).abs() < 1e-12);
    }
}
