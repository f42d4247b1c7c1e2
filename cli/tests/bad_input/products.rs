//! Catalogues of products, and logs of clicks on them.

use crate::bench::Bench;

pub(crate) fn catalogue(rows: &str) -> (Bench, Vec<String>) {
    let bench = Bench::new();
    bench.picture("1.png", 200);
    bench.picture("2.png", 100);
    let path = bench.write("mine.json", rows);
    (bench, vec!["--catalog".into(), path])
}

#[track_caller]
fn refused_catalogue(rows: &str, words: &[&str]) {
    let (bench, arguments) = catalogue(rows);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    bench.demo(&arguments).refused(64, words);
}

#[test]
fn a_malformed_catalogue_is_named_with_what_would_be_right() {
    let bench = Bench::new();
    bench
        .demo(&["--catalog", "nowhere.json"])
        .refused(64, &["nowhere.json", "No such file"]);
    bench.demo(&["--catalog", "file:///nowhere/at-all"]).refused(
        64,
        &[
            "catalogue.source = \"file:///nowhere/at-all\"",
            "no such directory",
        ],
    );
    let wanted = "a JSON list of {id, image, new_caption} is needed";
    refused_catalogue("", &["mine.json", "not JSON", wanted]);
    refused_catalogue("{\"id\": 1}", &["mine.json", "not a list", wanted]);
    refused_catalogue("[]", &["mine.json", "the list is empty", wanted]);
}

#[test]
fn every_faulty_row_of_a_catalogue_is_told_at_once() {
    let (bench, arguments) = catalogue(
        r#"[{"id": "1", "image": "1.png", "new_caption": "desk lamp"},
            {"id": "1", "image": "2.png", "new_caption": "oak chair"},
            {"id": "3", "image": "gone.png", "new_caption": "tea pot"},
            {"id": "4", "image": "text.png", "new_caption": "tea cup"},
            {"id": "5", "image": "2.png", "caption": "soap"}]"#,
    );
    bench.write("text.png", "this is no picture");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    bench.demo(&arguments).refused(
        64,
        &[
            "mine.json",
            "row 2",
            "row 3",
            "gone.png",
            "row 4",
            "text.png",
            "row 5",
            "new_caption",
        ],
    );
}

#[test]
fn a_catalogue_of_one_product_has_no_partner_for_it() {
    let one = r#"[{"id": "1", "image": "1.png", "new_caption": "desk lamp"}]"#;
    let words = ["mine.json", "product 1 has no partner", "loss.mode = dpo"];
    refused_catalogue(one, &words);
    // Beside whatever else is wrong.
    let (bench, arguments) = catalogue(one);
    let source = format!("--set=catalogue.source={}", arguments[1]);
    let said = bench.run(&["config", "check", "--role=learner", &source]);
    said.refused(64, &words);
    said.refused(
        64,
        &["2 mistakes", "paths.policy: out/policy is no model directory"],
    );
}

#[test]
fn a_catalogue_that_a_learner_cannot_use_leaves_nothing_behind() {
    let (bench, _) = catalogue("[]");
    std::fs::create_dir(bench.path("policy")).unwrap();
    let said = bench.run(&[
        "learner",
        "--policy",
        "policy",
        "--set",
        "catalogue.source=mine.json",
    ]);
    said.refused(64, &["mine.json", "the list is empty"]);
    said.left_nothing_but(&["1.png", "2.png", "mine.json", "policy"]);
}

#[test]
fn a_click_log_whose_creatives_cannot_be_compared_blames_the_key() {
    let bench = Bench::new();
    let said = bench.run(&[
        "train-reward",
        "--set",
        "reward.min_impressions=1000000000",
        "--set",
        "shopworld.products=16",
    ]);
    said.refused(64, &["training products", "reward.min_impressions", "1000000000"]);
    said.left_nothing_but(&[]);
}
