//! The same pictures in every container are the same data set.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{GrayImage, ImageFormat, Luma};
use rawzip::ZipArchiveWriter;

use super::check::{DataReport, check};
use pixgen_edge::data::{DataPart, DataSource, WHITE};

const NAMES: [&str; 3] = ["ant", "bee", "cat"];
/// Class of each picture.
const CLASSES: [usize; 8] = [2, 0, 1, 1, 0, 2, 1, 0];
const NAMED: &str = r#"{"classes": ["ant", "bee", "cat"]}"#;

type Files = Vec<(String, Vec<u8>)>;

fn pixels(number: usize) -> GrayImage {
    GrayImage::from_fn(6, 5, |x, y| Luma([(number as u32 * 30 + x * 7 + y) as u8]))
}

fn png(number: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels(number).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Every way to say the class of a picture, as files.
fn layouts() -> Vec<(&'static str, Files)> {
    let each = |name: &dyn Fn(usize, usize) -> String| -> Files {
        CLASSES
            .iter()
            .enumerate()
            .map(|(number, &class)| (name(number, class), png(number)))
            .collect()
    };
    let keyed = |extension: &str, text: &dyn Fn(usize) -> String| -> Files {
        let mut files = each(&|number, _| format!("{number:04}.png"));
        files.extend(
            CLASSES
                .iter()
                .enumerate()
                .map(|(number, &class)| (format!("{number:04}.{extension}"), text(class).into_bytes())),
        );
        files.push(("dataset.json".into(), NAMED.into()));
        files
    };
    let mut edm = each(&|number, _| format!("{:05}/img{number:08}.png", number / 3));
    let labels: Vec<String> = edm
        .iter()
        .zip(CLASSES)
        .map(|((name, _), class)| format!("[\"{name}\", {class}]"))
        .collect();
    edm.push((
        "dataset.json".into(),
        format!("\u{feff}{{\"labels\": [{}],\r\n\"classes\": [\"ant\", \"bee\", \"cat\"]}}", labels.join(",")).into(),
    ));
    vec![
        ("class folders", each(&|number, class| format!("{}/{number}.png", NAMES[class]))),
        ("class folders in a folder", each(&|number, class| format!("top/set/{}/deep/{number}.png", NAMES[class]))),
        ("dataset.json", edm),
        (".cls", keyed("cls", &|class| format!("{class}\r\n"))),
        (".json", keyed("json", &|class| format!("{{\"similarity\": NaN, \"label\": {class}}}"))),
    ]
}

fn write_folder(path: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn tar(files: &Files) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn zip(files: &Files) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in files {
        let (mut entry, config) = archive.new_file(name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, output) = writer.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx() -> (Vec<u8>, Vec<u8>) {
    let header = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let mut images = header(&[0x803, 8, 5, 6]);
    (0..CLASSES.len()).for_each(|number| images.extend(pixels(number).into_raw()));
    let mut labels = header(&[0x801, 8]);
    labels.extend(CLASSES.map(|class| class as u8));
    (images, labels)
}

/// Writes the set in every container; the paths to give to `--data`.
fn containers(root: &Path) -> Vec<(String, PathBuf)> {
    let mut paths = Vec::new();
    for (layout, files) in layouts() {
        let at = |end: &str| root.join(format!("{}{end}", layout.replace(' ', "-")));
        write_folder(&at(""), &files);
        fs::write(at(".zip"), zip(&files)).unwrap();
        fs::write(at(".tar"), tar(&files)).unwrap();
        fs::write(at(".tar.gz"), gzip(&tar(&files))).unwrap();
        paths.extend(["", ".zip", ".tar", ".tar.gz"].map(|end| (format!("{layout}{end}"), at(end))));
        if layout.starts_with("class") {
            // Shards that hold pictures of several classes each.
            let folder = at("-shards");
            fs::create_dir(&folder).unwrap();
            for (shard, range) in [0..3, 3..5, 5..8].into_iter().enumerate() {
                fs::write(folder.join(format!("{shard}.tar")), tar(&files[range].to_vec())).unwrap();
            }
            paths.push((format!("shards of {layout}"), folder));
        }
        if layout.starts_with('.') {
            // Shards, plain and packed, with the names beside them.
            let (pictures, labels) = (&files[..CLASSES.len()], &files[CLASSES.len()..2 * CLASSES.len()]);
            for (end, packed) in [("tar", false), ("tgz", true)] {
                let folder = root.join(format!("shards{layout}-{end}"));
                fs::create_dir(&folder).unwrap();
                for (shard, range) in [(0, 0..3), (1, 3..8)] {
                    let bytes = tar(&[&pictures[range.clone()], &labels[range]].concat());
                    fs::write(folder.join(format!("{shard}.{end}")), if packed { gzip(&bytes) } else { bytes }).unwrap();
                }
                fs::write(folder.join("dataset.json"), NAMED).unwrap();
                paths.push((format!("shards of {layout}, {end}"), folder));
            }
        }
    }
    let (images, labels) = idx();
    for (end, packed) in [("", false), (".gz", true)] {
        let folder = root.join(format!("idx{end}"));
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in [("train-images-idx3-ubyte", &images), ("train-labels-idx1-ubyte", &labels)] {
            fs::write(folder.join(format!("{name}{end}")), if packed { gzip(bytes) } else { bytes.clone() }).unwrap();
        }
        fs::write(folder.join("dataset.json"), NAMED).unwrap();
        paths.push((format!("IDX{end}"), folder));
    }
    paths
}

fn look(path: &Path) -> DataReport {
    check(&DataSource::Path(path.into()), DataPart::Train, WHITE).unwrap()
}

#[test]
fn every_container_gives_the_same_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let first = look(&{
        let path = folder.path().join("first");
        write_folder(&path, &layouts()[0].1);
        path
    });
    let all = containers(folder.path());
    assert_eq!(all.len(), 5 * 4 + 2 + 4 + 2);
    for (container, path) in all {
        let report = look(&path);
        let counts: Vec<(&str, usize)> = report.classes.iter().map(|class| (class.name.as_str(), class.images)).collect();
        assert_eq!(counts, [("ant", 3), ("bee", 3), ("cat", 2)], "{container}");
        assert_eq!((report.images, report.passed_over.is_empty()), (8, true), "{container}: {}", report.passed_over);
        assert_eq!(report.content_hash, first.content_hash, "{container}");
    }
}

/// The hash sees a pixel, a label, a picture, and the order of classes; a colour file of a grey picture is the same.
#[test]
fn the_content_hash_sees_what_enters() {
    let folder = tempfile::tempdir().unwrap();
    let (_, files) = layouts().remove(0);
    let hash_of = |name: &str, files: &Files| {
        write_folder(&folder.path().join(name), files);
        look(&folder.path().join(name)).content_hash
    };
    let first = hash_of("first", &files);
    let change = |name: &str, change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        hash_of(name, &files)
    };
    assert_ne!(first, change("pixel", &|files| files[0].1 = png(99)));
    assert_ne!(first, change("label", &|files| files[0].0 = "ant/0.png".into()));
    assert_ne!(first, change("fewer", &|files| drop(files.pop())));
    assert_ne!(first, change("order", &|files| files.iter_mut().for_each(|(name, _)| *name = name.replace("ant", "zebra"))));
    assert_eq!(
        first,
        change("names", &|files| files.iter_mut().for_each(|(name, _)| *name = name.replace("ant", "aardvark")))
    );
    let rgb = || {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::DynamicImage::from(pixels(0))
            .into_rgb8()
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    };
    assert_eq!(first, change("colour", &|files| files[0].1 = rgb()));
}

#[test]
fn copies_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut files) = layouts().remove(0);
    files.push(("bee/copy.png".into(), png(0)));
    files.push(("cat/copy.png".into(), png(0)));
    write_folder(folder.path(), &files);
    let report = look(folder.path());
    assert_eq!((report.copies.copies, report.copies.across_classes, report.copies.across_parts), (2, 3, None));
    assert!(
        report
            .to_string()
            .contains("2 copies of another picture, pixel by pixel; 3 pictures are in more than one class"),
        "{report}"
    );

    // The test part holds a picture to train on.
    let idx_folder = folder.path().join("idx");
    fs::create_dir(&idx_folder).unwrap();
    let (images, labels) = idx();
    for part in ["train", "t10k"] {
        fs::write(idx_folder.join(format!("{part}-images-idx3-ubyte")), &images).unwrap();
        fs::write(idx_folder.join(format!("{part}-labels-idx1-ubyte")), &labels).unwrap();
    }
    File::create(idx_folder.join("notes.txt")).unwrap();
    let report = look(&idx_folder);
    assert_eq!(report.copies.across_parts, Some(8));
    let text = report.to_string();
    assert!(
        text.contains("8 of the test part among those to train on") && text.contains("passed over: 1 file (1 .txt)"),
        "{text}"
    );
}
