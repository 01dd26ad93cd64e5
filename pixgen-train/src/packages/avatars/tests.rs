//! With shell scripts in the place of node and npm: nothing is downloaded.
#![cfg(unix)]

use super::*;
use crate::packages::error::NodeProblem;
use clap::ValueEnum as _;
use pixgen_edge::data::{DataPart, DataSource, DataSpec, Dataset, PixelStore, WHITE, load};
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

/// Says its version, or draws: a picture repeats its style and seed, but those of `thumbs` are all alike.
const NODE: &str = r#"
[ "$1" = --version ] && echo "${VERSION:-v20.1.0}" && exit
[ "$1" = draw.mjs ] && [ -f draw.mjs ] || exit 9
while read -r style size seeds; do
  for seed in $seeds; do
    [ $style = thumbs ] && seed=
    yes $style$seed | head -c $((3 * size * size))
  done
done
"#;

/// Installs the licences that lie beside it.
const NPM: &str = r#"
echo "$@" > "$(dirname "$0")/called"
[ -f package.json ] && [ -f package-lock.json ] && cp -r "$(dirname "$0")/node_modules" .
"#;

/// A folder with both programs and with the licences of all styles.
struct Machine {
    folder: TempDir,
    programs: Programs,
}

impl Machine {
    fn new(node: &str, npm: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.into()
        };
        let programs = Programs { node: program("node", node), npm: program("npm", npm) };
        for style in Style::value_variants() {
            let package = folder.path().join("node_modules/@dicebear").join(style.as_str());
            fs::create_dir_all(&package).unwrap();
            let text = format!("# Design\n{}\n\n# Code\nMIT License\n", style.credit().lines().join("\n"));
            fs::write(package.join("LICENSE"), text).unwrap();
        }
        Self { folder, programs }
    }

    fn draw(&self, options: &AvatarOptions, interrupt: &Interrupt) -> Result<Option<Staging>, PackageError> {
        let work = WorkFolder::open(&self.folder.path().join("out")).unwrap();
        let made = draw(options, &self.programs, Some("http://registry.example"), &work, (interrupt, true));
        // What is staged is looked at; after an error the folder is free for another try.
        if made.is_ok() {
            std::mem::forget(work);
        }
        made
    }
}

fn options(styles: &[Style], count: u32, held_out: u32) -> AvatarOptions {
    AvatarOptions { styles: styles.to_vec(), count, held_out, size: 8 }
}

fn loaded(path: &Path) -> Dataset {
    let spec = DataSpec {
        source: DataSource::Path(path.to_owned()),
        shape: ImageShape { height: 8, width: 8, channels: 3 },
        background: WHITE,
        skip_bad: false,
        memory: PixelStore::Always,
        part: DataPart::Train,
        relabel: false,
    };
    load(&spec).unwrap().dataset
}

#[test]
fn pictures_are_drawn_packed_and_credited() {
    let machine = Machine::new(NODE, NPM);
    let wanted = options(&[Style::BigEars, Style::Lorelei], 70, 3);
    let staging = machine.draw(&wanted, &Interrupt::default()).unwrap().unwrap();
    let [training, test] = ["train.zip", "test.zip"].map(|name| loaded(&staging.root().join(name)));
    assert_eq!(
        (&training.class_names, training.class_counts()),
        (&vec!["big-ears".to_owned(), "lorelei".to_owned()], vec![70, 70])
    );
    assert_eq!((&test.class_names, test.class_counts()), (&training.class_names, vec![3, 3]));
    // The seed of a picture is the beginning of the SHA-256 of its number: of "69", and of 2^32.
    let drawn = |text: &str| format!("{text}\n").bytes().cycle().take(192).collect::<Vec<u8>>();
    assert_eq!(training.image(69).unwrap().as_ref(), drawn("big-earsc75cb66ae28d8ebc"));
    assert_eq!(test.image(0).unwrap().as_ref(), drawn(&format!("big-ears{}", &checksum::of_bytes(b"4294967296")[..16])));
    let pixels = [training.pixels().unwrap(), test.pixels().unwrap()];
    let different: HashSet<&[u8]> = pixels.iter().flat_map(|pixels| pixels.chunks_exact(192)).collect();
    assert_eq!(different.len(), 146);

    let credits = fs::read_to_string(staging.root().join(CREDITS)).unwrap();
    for style in &wanted.styles {
        assert!(style.credit().lines().iter().all(|line| credits.contains(line)), "{credits}");
    }
    assert!(!credits.contains("Zoish"));
    let called = fs::read_to_string(machine.folder.path().join("called")).unwrap();
    assert!(called.starts_with("ci --ignore-scripts") && called.contains("--registry=http://registry.example"), "{called}");
}

#[test]
fn what_goes_wrong_is_said() {
    let draw = |node: &str, npm: &str, wanted: &AvatarOptions| Machine::new(node, npm).draw(wanted, &Interrupt::default()).unwrap_err();
    let some = options(&[Style::Lorelei], 2, 0);
    for (node, npm, says) in [
        ("echo v16.3.0", NPM, "`node --version` failed: version 18 or later is needed, it says `v16.3.0`"),
        (
            NODE,
            "echo npm error code E404 >&2; echo 'npm error Error: no a@1' >&2; echo x >&2; exit 1",
            "`npm ci` failed: npm error Error: no a@1",
        ),
        (NODE, "exit 3", "`npm ci` failed: exit status: 3"),
        (
            "[ $1 = --version ] && echo v18 && exit; head -c 100 draw.mjs; echo SyntaxError: x >&2; echo v18 >&2",
            NPM,
            "`node draw.mjs` failed: SyntaxError: x",
        ),
    ] {
        let error = draw(node, npm, &some);
        assert_eq!(error.to_string(), says);
        assert!(error.hint().is_some(), "{error}");
    }
    let error = draw(NODE, NPM, &options(&[Style::Thumbs], 200, 0));
    assert_eq!(error.to_string(), "thumbs has no more than 1 different pictures of 8x8; 200 were asked for");

    let mut machine = Machine::new(NODE, NPM);
    let licence = machine.folder.path().join("node_modules/@dicebear/lorelei/LICENSE");
    fs::write(&licence, fs::read_to_string(&licence).unwrap().replace("CC0", "CC")).unwrap();
    let error = machine.draw(&some, &Interrupt::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("has no line `License: CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/)`"),
        "{error}"
    );
    machine.programs.node = "pixgen-no-such-program".into();
    let error = machine.draw(&some, &Interrupt::default()).unwrap_err();
    assert!(matches!(&error, PackageError::Node { kind: NodeProblem::Missing, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("apt-get install nodejs npm"));
}

#[test]
fn a_user_who_asks_to_stop_is_heard() {
    let interrupt = Interrupt::default();
    interrupt.request();
    let stopped = Machine::new(NODE, NPM).draw(&options(&[Style::Lorelei], 2, 0), &interrupt);
    assert!(matches!(stopped, Ok(None)), "{stopped:?}");
}
