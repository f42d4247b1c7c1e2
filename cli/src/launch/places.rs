//! Places in the store that are named after their run.

use crate::config::Layers;
use std::fmt;
use std::path::PathBuf;
use toml::{Table, Value};

/// What a run has for itself alone.
const KEYS: [(&str, &str); 2] = [("store", "url"), ("paths", "adapter")];

/// The directory that runs' places are in.
const RUNS: &str = "runs";

/// Where `.../runs/OLD` becomes `.../runs/NEW`, because the run has another name than in the overlay below.
#[derive(Debug, PartialEq)]
pub(crate) struct Moved {
    from: String,
    to: String,
    /// Keys and what they become: one at least.
    places: Vec<(String, String)>,
}

impl Moved {
    /// What follows when `sets` change the name of the run of `files`; nothing that they set themselves.
    pub(crate) fn of(files: &[PathBuf], sets: &[String]) -> Option<Self> {
        let layers = || Layers::default().files(files);
        let (below, _) = layers().examine();
        let (config, _) = layers().sets(sets).examine();
        let (from, to) = (below.run.id, config.run.id);
        let (given, set) = (layers().given(), Layers::default().sets(sets).given());
        let followed = KEYS.iter().filter(|key| value(&set, key).is_none());
        let places: Vec<_> = followed
            .filter_map(|key| {
                let place = value(&given, key)?.as_str()?;
                Some((format!("{}.{}", key.0, key.1), moved(place, &from, &to)?))
            })
            .collect();
        let follows = from != to && !places.is_empty();
        follows.then_some(Self { from, to, places })
    }

    /// The same as `--set` has it.
    pub(crate) fn sets(&self) -> impl Iterator<Item = String> {
        self.places
            .iter()
            .map(|(key, place)| format!("{key}={}", Value::from(place.as_str())))
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, places } = self;
        let keys: Vec<&str> = places.iter().map(|(key, _)| key.as_str()).collect();
        let keys = keys.join(" and ");
        write!(
            f,
            "the run is {to}: /{RUNS}/{from} becomes /{RUNS}/{to} in {keys}; rights in the store have to follow"
        )
    }
}

fn value<'a>(table: &'a Table, (outer, inner): &(&str, &str)) -> Option<&'a Value> {
    table.get(*outer)?.get(*inner)
}

/// A directory or URL with the run's name after `runs/` replaced; nothing, where it is not there.
fn moved(place: &str, from: &str, to: &str) -> Option<String> {
    let (path, query) = place.split_at(place.find('?').unwrap_or(place.len()));
    let mut parts: Vec<&str> = path.split('/').collect();
    let runs = parts.windows(2).rposition(|pair| pair == [RUNS, from])?;
    parts[runs + 1] = to;
    Some(parts.join("/") + query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runs_own_name_is_replaced() {
        let to_spring = |place: &str| moved(place, "demo", "spring");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            to_spring("s3://adwright/runs/demo"),
            some("s3://adwright/runs/spring")
        );
        assert_eq!(
            to_spring("s3://demo/runs/demo/adapter"),
            some("s3://demo/runs/spring/adapter")
        );
        assert_eq!(
            to_spring("az://c/runs/demo?sig=a/b"),
            some("az://c/runs/spring?sig=a/b")
        );
        for other in [
            "s3://adwright/runs/demo2",
            "s3://adwright/demo",
            "out/store",
            "s3://a/runs",
        ] {
            assert_eq!(to_spring(other), None, "{other}");
        }
    }

    #[test]
    fn a_place_stays_where_the_run_keeps_its_name_or_the_place_is_set() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let text = "[run]\nid = \"demo\"\n[store]\nurl = \"s3://a/runs/demo\"\n[paths]\nadapter = \"s3://a/runs/demo/adapter\"\n";
        std::fs::write(&file, text).unwrap();
        let sets_of = |sets: &[&str]| -> Vec<String> {
            let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
            Moved::of(std::slice::from_ref(&file), &sets)
                .iter()
                .flat_map(Moved::sets)
                .collect()
        };
        assert_eq!(
            sets_of(&["run.id=spring"]),
            [
                "store.url=\"s3://a/runs/spring\"",
                "paths.adapter=\"s3://a/runs/spring/adapter\""
            ]
        );
        assert_eq!(
            sets_of(&["run.id=spring", "store.url=s3://b/x"]),
            ["paths.adapter=\"s3://a/runs/spring/adapter\""]
        );
        assert!(sets_of(&["run.id=demo"]).is_empty() && sets_of(&["run.seed=3"]).is_empty());
    }
}
