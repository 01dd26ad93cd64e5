//! `bench --roofline` as a user meets it, and docs/results/performance.md, whose tables must be what the commands above them print.

use pixgen_tests::program::{fails, pixgen, succeeds};
use std::path::Path;

/// Fenced blocks of docs/results/performance.md that begin with a roofline command: the command and what follows it.
fn blocks() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/performance.md");
    let text = std::fs::read_to_string(path).expect("docs/results/performance.md");
    let fenced = text.split("\n```").skip(1).step_by(2);
    let bodies = fenced.filter_map(|block| block.split_once('\n').map(|(_, body)| body));
    let commands = bodies.filter_map(|body| body.strip_prefix("$ pixgen-train ")?.split_once('\n'));
    let roofline = commands.filter(|(command, _)| command.contains("--roofline"));
    roofline.map(|(command, output)| (command.to_owned(), output.to_owned())).collect()
}

#[test]
fn the_documentation_shows_what_the_program_prints() {
    let blocks = blocks();
    for model in ["EPG-L-16-256", "EPG-XL-16-256"] {
        assert!(blocks.iter().any(|(command, _)| command.contains(model)), "no block for {model}");
    }
    for (command, shown) in blocks {
        let done = succeeds(pixgen(command.split_whitespace()));
        assert_eq!(done.text().trim_end(), shown.trim_end(), "docs/results/performance.md: {command}");
    }
}

#[test]
fn json_holds_the_same_numbers() {
    let arguments = [
        "bench",
        "--model",
        "epg-b-16-256",
        "--roofline",
        "A100-40",
        "--batch",
        "32",
        "--json",
    ];
    let kept = succeeds(pixgen(arguments)).json();
    let recomputed = succeeds(pixgen(arguments.iter().chain(&["--recompute"]))).json();
    assert_eq!((&kept["model"], &kept["gpu"]["name"]), (&"EPG-B-16-256".into(), &"a100-40".into()));
    let stages = |json: &serde_json::Value| json["stages"].as_array().expect("stages").clone();
    assert_eq!(stages(&kept).len(), 4);
    for (kept, recomputed) in stages(&kept).iter().zip(stages(&recomputed)) {
        let number = |json: &serde_json::Value, key: &str| json[key].as_f64().expect(key);
        assert!((number(kept, "images_per_second") * number(kept, "seconds") - 32.0).abs() < 1e-6);
        assert!(number(&recomputed, "memory") < number(kept, "memory"));
        assert!(number(&recomputed, "seconds") > number(kept, "seconds"));
        let hours = number(kept, "recipe_images") / number(kept, "images_per_second") / 8.0 / 3600.0;
        assert!((number(kept, "recipe_hours") / hours - 1.0).abs() < 1e-9);
    }
}

/// One GPU tells nobody anything; more of them take longer for a step and send more.
#[test]
fn an_interconnect_adds_the_exchange() {
    let exchange = |gpus: &str, kind: &str| {
        let arguments = [
            "bench",
            "--model",
            "EPG-L-16-256",
            "--roofline",
            "h100",
            "--batch",
            "128",
            "--gpus",
            gpus,
        ];
        let json = succeeds(pixgen(arguments.iter().chain(&["--interconnect", kind, "--json"]))).json();
        json["stages"]
            .as_array()
            .expect("stages")
            .iter()
            .map(|stage| stage["exchange"].clone())
            .collect::<Vec<_>>()
    };
    let [one, eight, many, slow] =
        [("1", "nvlink"), ("8", "nvlink"), ("64", "400gb"), ("64", "100gbe")].map(|(gpus, kind)| exchange(gpus, kind));
    for stage in 0..4 {
        let number = |of: &[serde_json::Value], key: &str| of[stage][key].as_f64().expect(key);
        assert_eq!((number(&one, "sent"), number(&one, "seconds"), number(&one, "efficiency")), (0.0, 0.0, 1.0));
        assert_eq!(number(&one, "memory"), number(&one, "memory_sharded"));
        for (fewer, more) in [(&one, &eight), (&eight, &many), (&many, &slow)] {
            assert!(number(fewer, "seconds") < number(more, "seconds"));
            assert!(number(fewer, "efficiency") > number(more, "efficiency"));
        }
        assert!(number(&eight, "memory_sharded") < number(&eight, "memory"));
    }
}

#[test]
fn wrong_requests_are_explained() {
    for (arguments, parts) in [
        (
            &["--model", "EPG-XL-16", "--roofline", "h100"][..],
            &["there is no preset `EPG-XL-16`", "did you mean `EPG-XL-16-256`?"][..],
        ),
        (&["--model", "EPG-L-16-256", "--roofline", "h10"], &["--roofline h10", "did you mean `h100`?", "rtx4090"]),
        (&["--model", "EPG-L-16-256", "--roofline", "tpu"], &["unknown device", "known are h100"]),
        (&["--roofline", "h100"], &["no model given", "--model EPG-XL-16-256"]),
        (&["--model", "EPG-L-16-256", "--roofline", "h100", "--batch", "1.5"], &["--batch 1.5", "a whole number"]),
        (&["--model", "EPG-L-16-256", "--roofline", "h100", "--matmul-efficiency", "1.5"], &["--matmul-efficiency 1.5"]),
        (
            &[
                "--model",
                "EPG-L-16-256",
                "--roofline",
                "h100",
                "--gpus",
                "9",
                "--interconnect",
                "nvlink",
            ],
            &["several hosts", "--gpus 8"],
        ),
        (
            &[
                "--model",
                "EPG-L-16-256",
                "--roofline",
                "l40s",
                "--gpus",
                "8",
                "--interconnect",
                "nvlink",
            ],
            &["no NVLink", "400gb"],
        ),
        (&["--model", "EPG-L-16-256", "--roofline", "h100", "--interconnect", "nvlink"], &["how many GPUs", "--gpus 8"]),
    ] {
        fails(pixgen(["bench"].iter().chain(arguments)), parts);
    }
}
