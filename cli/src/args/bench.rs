//! Arguments of the measurements.

use super::DemoArgs;
use clap::{Args, Subcommand};

/// `adwright bench ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Leases and durable outcomes: how many a second, and how long a call takes
    ControlPlane(ControlPlaneArgs),
    /// An adapter on its way to every actor, beside a plain TCP copy
    Broadcast(BroadcastArgs),
    /// How a policy ends when its pairs may be 0, 1, 2... versions old: a demo each, from one start
    Staleness(Box<StalenessArgs>),
    /// A demo's roles at work for an hour: how much memory each holds, how the ledger grows
    Soak(Box<SoakArgs>),
}

/// What is measured of leases and outcomes.
#[derive(Debug, Args)]
pub(crate) struct ControlPlaneArgs {
    /// Simulated actors, each with a connection of its own
    #[arg(long, default_value_t = 1000, value_parser = some, allow_negative_numbers = true)]
    pub(crate) actors: usize,
    /// How long it is measured, at most a day, and while the run lasts: fewer than 1,000,000 outcomes at --rate, those of the warm-up included
    #[arg(long, default_value_t = 10.0, value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) seconds: f64,
    /// Outcomes a second that all actors together hand in, as far as they get leases; 0: as many as they can
    #[arg(long, default_value_t = 6000.0, value_parser = rate, allow_negative_numbers = true)]
    pub(crate) rate: f64,
    /// Over TLS with certificates on both sides
    #[arg(long)]
    pub(crate) tls: bool,
    /// The run's store: a directory or a URL; a temporary directory when it is not given
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured of the broadcast.
#[derive(Debug, Args)]
pub(crate) struct BroadcastArgs {
    /// The adapter's length
    #[arg(long, default_value_t = 640 << 20, value_parser = some, allow_negative_numbers = true)]
    pub(crate) bytes: usize,
    /// Simulated actors
    #[arg(long, default_value_t = 1, value_parser = some, allow_negative_numbers = true)]
    pub(crate) actors: usize,
    /// Actors that fetch from the learner, and from each relay; 0: all from the learner
    #[arg(long, default_value_t = 2)]
    pub(crate) branches: usize,
    /// What each host's line carries, in bytes a second each way, the learner's and every actor's; 0: as much as the machine can
    #[arg(long, default_value_t = 0.0, value_parser = rate, allow_negative_numbers = true)]
    pub(crate) line: f64,
    /// Over TLS with certificates on both sides; the plain copy stays plain
    #[arg(long)]
    pub(crate) tls: bool,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured of staleness.
#[derive(Debug, Args)]
#[command(mut_arg("compare", |arg| arg.hide(true)))]
#[command(mut_arg("deterministic", |arg| arg.hide(true)))]
#[command(mut_arg("out", |arg| arg.help(
    "Where staleness.json and its charts go; each demo's results go into a directory of its own below it"
)))]
pub(crate) struct StalenessArgs {
    /// The largest `learner.max_staleness`, at most 100: each takes a demo
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(..=100), allow_negative_numbers = true)]
    pub(crate) most: u64,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is measured of memory.
#[derive(Debug, Args)]
#[command(mut_arg("compare", |arg| arg.hide(true)))]
#[command(mut_arg("rounds", |arg| arg.hide(true)))]
#[command(mut_arg("out", |arg| arg.help(
    "Beside which the roles write, in DIR.unfinished: removed at the end, but for logs"
)))]
pub(crate) struct SoakArgs {
    /// How long the roles work; the policy learns slowly (learner.optimizer.learning_rate=0.00001), or it would have no pairs left in time
    #[arg(long, default_value_t = 60.0, allow_negative_numbers = true)]
    pub(crate) minutes: f64,
    #[command(flatten)]
    pub(crate) demo: DemoArgs,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Something a second; 0 stands for no bound.
fn rate(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    let in_range = rate.filter(|rate| rate.is_finite() && *rate >= 0.0);
    in_range.ok_or_else(|| "expected a number, 0 or more".to_owned())
}

/// How many of what it makes no sense to have none of.
fn some(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

/// How long something is measured.
fn seconds(text: &str) -> Result<f64, String> {
    const DAY: f64 = 86_400.0;
    let seconds = text
        .parse()
        .ok()
        .filter(|&seconds| seconds > 0.0 && seconds <= DAY);
    seconds.ok_or_else(|| "expected a number of seconds, more than 0 and at most 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{BenchCommand, rate};
    use crate::args::{Cli, Command};
    use clap::Parser as _;

    fn taken(words: &[&str]) -> Result<Command, String> {
        let line = ["adwright", "bench"].iter().chain(words);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        Ok(cli.command)
    }

    #[test]
    fn what_no_measurement_can_be_made_with_is_refused_by_its_flag() {
        for bad in ["nan", "-1", "0", "inf", "1e9", "long"] {
            let told = taken(&["control-plane", "--seconds", bad]).unwrap_err();
            assert!(
                told.contains("--seconds") && told.contains("at most 86400"),
                "{told}"
            );
        }
        for (command, flag) in [
            ("control-plane", "--actors"),
            ("broadcast", "--actors"),
            ("broadcast", "--bytes"),
        ] {
            for bad in ["0", "-1", "1.5", "many"] {
                let told = taken(&[command, flag, bad]).unwrap_err();
                assert!(told.contains(flag) && told.contains("1 or more"), "{told}");
            }
        }
        let told = taken(&["staleness", "--most", "101"]).unwrap_err();
        assert!(told.contains("--most") && told.contains("100"), "{told}");
        let small = taken(&["control-plane", "--seconds", "0.5", "--actors", "1"]).unwrap();
        let Command::Bench(BenchCommand::ControlPlane(small)) = small else {
            panic!("{small:?}")
        };
        assert_eq!((small.seconds, small.actors), (0.5, 1));
    }

    #[test]
    fn a_rate_is_a_number_of_at_least_0() {
        assert_eq!((rate("0"), rate("2.5e6")), (Ok(0.0), Ok(2.5e6)));
        for bad in ["-1", "nan", "inf", "fast", ""] {
            assert!(rate(bad).unwrap_err().contains("0 or more"), "{bad}");
        }
    }
}
