//! The integer interpreter against the float reference, and against itself: shapes of every kind, one and two steps.

mod random;

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::integer::plan::plan_sites;
use pixgen_core::integer::{DrawError, DrawRequest, Drawing, Integer, NoiseSeed, SLICE_WORK, workspace_len};
use pixgen_core::network;
use pixgen_core::noise::Parametrisation;
use pixgen_core::params::{Layer, Site};
use pixgen_core::patch::unpatchify;
use pixgen_core::pixels::Band;
use pixgen_core::presets::preset;
use pixgen_core::pxg::Model;
use pixgen_core::rng::Blend;
use pixgen_core::workspace::WorkspaceError;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::draw::draw;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::onnx::float_graph;
use pixgen_edge::quantise::draw::{draw_float, draw_integer, requests};
use pixgen_edge::quantise::observe::Observe;
use pixgen_edge::quantise::report::{LOW_SNR_DB, compare};
use pixgen_edge::quantise::{QuantiseError, QuantiseOptions, export};
use random::{generator, shapes};
use std::path::Path;

fn quantised(file: &ModelFile, steps: usize) -> AlignedBytes {
    let options = QuantiseOptions { steps, pictures: 24, tests: 1, ..QuantiseOptions::default() };
    AlignedBytes::copy(&export(file, None, &options).expect("exports").bytes)
}

/// int8 stays near float: within 4 grey levels, root mean square, of random networks, whose errors grow faster than trained ones'.
#[test]
fn int8_is_near_float() {
    for model in shapes() {
        for parametrisation in [Parametrisation::PlainX, Parametrisation::Edm] {
            for steps in [1, 2] {
                let file = generator(model, parametrisation);
                let bytes = quantised(&file, steps);
                let exported = Model::read(bytes.bytes()).expect("reads");
                let classes: Vec<usize> = (0..24).map(|i| i % 3).collect();
                let requests = requests(9, 0, &classes);
                let float = draw_float(&file, &requests, steps).expect("draws");
                let int8 = draw_integer(&exported, &requests).expect("draws");
                let square = |(&a, &b): (&u8, &u8)| (f64::from(a) - f64::from(b)).powi(2);
                let rms = (float.iter().zip(&int8).map(square).sum::<f64>() / float.len() as f64).sqrt();
                let mean = float.iter().map(|&v| f64::from(v)).sum::<f64>() / float.len() as f64;
                let spread = (float.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / float.len() as f64).sqrt();
                println!("{model:?} {parametrisation:?} {steps} step(s): {rms:.2} of {spread:.1}");
                assert!(spread > 20.0, "the pictures are flat: {spread}");
                assert!(rms < 4.0, "{model:?} {parametrisation:?} {steps} step(s): {rms:.2} of {spread:.1}");
            }
        }
    }
}

/// The closed form is the measured mark, and less is refused by name.
#[test]
fn workspace_is_exact() {
    for model in shapes() {
        for steps in [1, 2] {
            let bytes = quantised(&generator(model, Parametrisation::PlainX), steps);
            let exported = Model::read(bytes.bytes()).expect("reads");
            let need = exported.workspace_len();
            assert_eq!(need, workspace_len(&model, steps));
            let request = DrawRequest { class: 1, seed: 3, number: 0 };
            let mut workspace = AlignedBytes::zeroed(need);
            let usage = exported.draw(&request, workspace.bytes_mut(), &mut |_| ()).expect("draws");
            assert_eq!(usage.workspace, need, "{model:?} {steps}");
            let short = exported.draw(&request, &mut workspace.bytes_mut()[..need - 1], &mut |_| ());
            assert_eq!(short, Err(DrawError::Workspace(WorkspaceError::TooSmall { need, have: need - 1 })));
        }
    }
}

/// A picture in slices is the picture drawn at once, byte for byte and band for band, in as many slices as the plan says; a slice is at
/// most as long as the plan says, and other work between two slices changes nothing.
#[test]
fn slices_draw_the_same_picture() {
    let large = ModelConfig {
        size: 32,
        channels: 3,
        patch: 4,
        classes: 3,
        encoder: Tower { depth: 2, width: 128, heads: 4 },
        decoder: Tower { depth: 2, width: 192, heads: 6 },
    };
    let mut most = 0;
    for model in shapes().into_iter().chain([preset("nano-28-grey").expect("preset").model, large]) {
        for (steps, parametrisation) in [(1, Parametrisation::PlainX), (2, Parametrisation::Edm)] {
            let bytes = quantised(&generator(model, parametrisation), steps);
            let exported = Model::read(bytes.bytes()).expect("reads");
            let request = DrawRequest { class: 1, seed: 11, number: 5 };
            let mut workspace = AlignedBytes::zeroed(exported.workspace_len());
            let (mut wanted, mut found) = (Vec::new(), Vec::new());
            let whole = exported
                .draw(&request, workspace.bytes_mut(), &mut |band| wanted.push((band.y(), band.bytes().to_vec())))
                .expect("draws");

            // Something else is drawn elsewhere in between; the half-finished picture moves to other memory.
            let mut elsewhere = AlignedBytes::zeroed(exported.workspace_len());
            let mut other = Drawing::new(DrawRequest { class: 0, seed: 1, number: 1 });
            let mut memory = AlignedBytes::copy(&vec![0xa5; exported.workspace_len()]);
            let (mut drawing, mut slices) = (Drawing::new(request), 0);
            let usage = loop {
                slices += 1;
                let mut show = |band: &Band<'_>| found.push((band.y(), band.bytes().to_vec()));
                if let Some(usage) = drawing.step(&exported, memory.bytes_mut(), &mut show).expect("draws") {
                    break usage;
                }
                other.step(&exported, elsewhere.bytes_mut(), &mut |_| ()).expect("draws");
                memory = AlignedBytes::copy(memory.bytes());
            };
            assert_eq!(found, wanted, "{model:?} {steps}");
            assert_eq!(usage, whole, "{model:?} {steps}");
            let totals = plan_sites(exported.config(), steps, &mut |_| ());
            assert_eq!(slices, totals.slices, "{model:?} {steps}");
            let rows = 6 * 4 * model.encoder.width.max(model.decoder.width).pow(2) as u64;
            assert!(totals.longest_slice <= (SLICE_WORK as u64).max(rows), "{model:?}: {totals:?}");
            most = most.max(slices);
            // A finished picture stays finished.
            assert_eq!(drawing.step(&exported, memory.bytes_mut(), &mut |_| panic!("a band")), Ok(Some(usage)));
        }
    }
    assert!(most > 100, "{most} slices: nothing was cut");
}

#[test]
fn the_first_slice_finds_what_is_wrong() {
    let bytes = quantised(&generator(shapes()[0], Parametrisation::PlainX), 1);
    let exported = Model::read(bytes.bytes()).expect("reads");
    let mut workspace = AlignedBytes::zeroed(exported.workspace_len());
    let mut step = |class: usize, len: usize| {
        let mut drawing = Drawing::new(DrawRequest { class, seed: 0, number: 0 });
        drawing.step(&exported, &mut workspace.bytes_mut()[..len], &mut |_| ()).err()
    };
    let (need, classes) = (exported.workspace_len(), exported.config().classes);
    assert_eq!(step(0, need), None);
    assert_eq!(step(classes, need), Some(DrawError::Class { class: classes, classes }));
    assert_eq!(step(0, need - 16), Some(DrawError::Workspace(WorkspaceError::TooSmall { need, have: need - 16 })));
}

/// The ends of a walk are the two pictures; between them are others, and neighbours are alike.
#[test]
fn a_walk_begins_and_ends_at_pictures() {
    for steps in [1, 2] {
        let bytes = quantised(&generator(shapes()[1], Parametrisation::Edm), steps);
        let exported = Model::read(bytes.bytes()).expect("reads");
        let mut workspace = AlignedBytes::zeroed(exported.workspace_len());
        let (from, to) = (DrawRequest { class: 1, seed: 3, number: 0 }, NoiseSeed { seed: u64::MAX, number: 9 });
        let mut frame = |share: u32, to: NoiseSeed| {
            let (mut drawing, mut picture) = (Drawing::new(from).towards(to, share), Vec::new());
            let mut show = |band: &Band<'_>| picture.extend_from_slice(band.bytes());
            while drawing.step(&exported, workspace.bytes_mut(), &mut show).expect("draws").is_none() {}
            picture
        };
        let end = DrawRequest { seed: to.seed, number: to.number, ..from };
        let ends = draw_integer(&exported, &[from, end]).expect("draws");
        let frames: Vec<Vec<u8>> = (0..=64).map(|i| frame(i * Blend::WHOLE / 64, to)).collect();
        assert_eq!([&frames[0][..], &frames[64][..]].concat(), ends, "{steps} steps");
        let distance = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt();
        let whole = distance(&frames[0], &frames[64]);
        for pair in frames.windows(2) {
            let step = distance(&pair[0], &pair[1]);
            assert!(0.0 < step && step < whole / 4.0, "{steps} steps: {step} of {whole}");
        }
        // On the way from a noise to itself there is only that one.
        assert_eq!(frame(Blend::WHOLE / 2, NoiseSeed { seed: 3, number: 0 }), frames[0]);
    }
}

/// What lay in the workspace before does not matter, nor does a larger one.
#[test]
fn pictures_do_not_depend_on_the_workspace() {
    for model in shapes() {
        let bytes = quantised(&generator(model, Parametrisation::PlainX), 2);
        let exported = Model::read(bytes.bytes()).expect("reads");
        let request = DrawRequest { class: 0, seed: 77, number: 4 };
        let mut clean = AlignedBytes::zeroed(exported.workspace_len());
        let mut dirty = AlignedBytes::copy(&vec![0xa5; exported.workspace_len() + 160]);
        let first = exported.picture_hash(&request, clean.bytes_mut()).expect("draws");
        assert_eq!(exported.picture_hash(&request, dirty.bytes_mut()), Ok(first));
        assert_eq!(exported.picture_hash(&request, clean.bytes_mut()), Ok(first));
    }
}

/// The MLP in chunks and the head in bands give what the default bodies of the op set give.
#[test]
fn composites_equal_their_defaults() {
    for model in shapes() {
        let bytes = quantised(&generator(model, Parametrisation::PlainX), 1);
        let exported = Model::read(bytes.bytes()).expect("reads");
        let (seed, number) = (11, 2);
        let mut workspace = AlignedBytes::zeroed(1 << 20);
        let mut want = Vec::new();
        let draw = exported.draw(&DrawRequest { class: 2, seed, number }, workspace.bytes_mut(), &mut |band| {
            want.extend_from_slice(band.bytes())
        });
        assert!(draw.is_ok());

        let mut levels = Vec::new();
        let inner = Integer::new(&exported, 2, 0, workspace.bytes_mut(), None).expect("binds");
        let see = |site: Site, _: usize, values: &[f32]| {
            if site.layer == Layer::Head {
                levels = values.to_vec();
            }
        };
        network::forward(&mut Observe { inner, see }, &model, &NoiseSeed { seed, number }, &()).expect("runs");
        let patches: Vec<u8> = levels.iter().map(|&v| ((v as i32 + 32) >> 6).clamp(0, 255) as u8).collect();
        let mut rows = vec![0; patches.len()];
        unpatchify(&model, &patches, &mut rows);
        assert_eq!(rows, want, "{model:?}");
    }
}

/// Classes and self-tests of a file: a subset in another order draws the same pictures but for rounding.
#[test]
fn a_subset_of_classes_draws_the_same() {
    let file = generator(shapes()[0], Parametrisation::PlainX);
    let options = QuantiseOptions { pictures: 12, tests: 3, ..QuantiseOptions::default() };
    let all = AlignedBytes::copy(&export(&file, None, &options).expect("exports").bytes);
    let some = AlignedBytes::copy(
        &export(&file, None, &QuantiseOptions { classes: vec![2, 0], ..options })
            .expect("exports")
            .bytes,
    );
    let (all, some) = (Model::read(all.bytes()).expect("reads"), Model::read(some.bytes()).expect("reads"));
    assert_eq!((all.class_name(2), some.class_name(0), some.class_name(2)), (Some("class 2"), Some("class 2"), None));
    let mut workspace = AlignedBytes::zeroed(all.workspace_len());
    assert_eq!(all.self_test(workspace.bytes_mut()), Ok(3));
    assert_eq!(some.self_test(workspace.bytes_mut()), Ok(3));
    // The shifts of the modulated norms are chosen over the exported classes.
    let mut draw = |model: &Model<'_>, class| {
        let mut bytes = Vec::new();
        let request = DrawRequest { class, seed: 1, number: 0 };
        assert!(
            model
                .draw(&request, workspace.bytes_mut(), &mut |band| bytes.extend_from_slice(band.bytes()))
                .is_ok()
        );
        bytes
    };
    let (a, b) = (draw(&all, 2), draw(&some, 0));
    assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 12));
    assert_ne!(a, draw(&some, 1));
}

/// A generator that was never trained has a head of zeros: it exports and draws the mean of the data.
#[test]
fn an_untrained_model_exports() {
    let mut file = generator(shapes()[1], Parametrisation::PlainX);
    file.params = file.set.initialise(1);
    let bytes = quantised(&file, 1);
    let exported = Model::read(bytes.bytes()).expect("reads");
    let picture = draw_integer(&exported, &requests(1, 0, &[0])).expect("draws");
    let mean = file.header.normalisation.mean.map(|mean| (255.0 * mean).round() as u8);
    assert!(
        picture
            .chunks_exact(3)
            .all(|pixel| pixel.iter().zip(mean).all(|(a, b)| a.abs_diff(b) <= 1)),
        "{:?}",
        &picture[..3]
    );
}

/// One call draws either form of a model, from a file or a run folder.
#[test]
fn a_path_is_enough_to_draw() {
    let file = generator(shapes()[1], Parametrisation::Edm);
    let bytes = quantised(&file, 1);
    let exported = Model::read(bytes.bytes()).expect("reads");
    let requests = requests(4, 2, &[2, 0]);
    let folder = tempfile::tempdir().expect("a folder");
    let [weights, pxg] = ["model.safetensors", "model.pxg"].map(|name| folder.path().join(name));
    std::fs::write(&weights, file.to_bytes().expect("bytes")).expect("writes");
    std::fs::write(&pxg, bytes.bytes()).expect("writes");
    let drawn = |path: &Path| {
        draw(path, &requests)
            .expect("draws")
            .iter()
            .flat_map(|p| p.bytes().to_vec())
            .collect::<Vec<u8>>()
    };
    let float = draw_float(&file, &requests, 1).expect("draws");
    assert_eq!(drawn(&weights), float);
    assert_eq!(drawn(folder.path()), float);
    assert_eq!(drawn(&pxg), draw_integer(&exported, &requests).expect("draws"));
    let missing = draw(&folder.path().join("none.pxg"), &requests).expect_err("no file");
    assert!(missing.to_string().contains("none.pxg"), "{missing}");
    assert!(draw(&pxg, &[DrawRequest { class: 3, seed: 0, number: 0 }]).is_err(), "no such class");
}

/// A name with a line end would shift the names behind it by one.
#[test]
fn a_class_name_is_one_line() {
    let mut file = generator(shapes()[4], Parametrisation::Edm);
    for name in ["a\nb", "a\r", "\n"] {
        file.header.class_names = vec!["x".to_owned(), name.to_owned(), "q".to_owned()];
        let options = QuantiseOptions { pictures: 2, tests: 0, ..QuantiseOptions::default() };
        let error = export(&file, None, &options).expect_err("refused");
        assert!(matches!(error, QuantiseError::ClassName { class: 1, .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--classes")), "{error}");
        assert!(float_graph(&file, &[0, 1], None).is_err(), "a graph lists the names too");
        // The others are exported, with their own names.
        let others = QuantiseOptions { classes: vec![0, 2], ..options };
        let bytes = AlignedBytes::copy(&export(&file, None, &others).expect("exports").bytes);
        let model = Model::read(bytes.bytes()).expect("reads");
        assert_eq!([0, 1].map(|class| model.class_name(class)), [Some("x"), Some("q")]);
    }
    // Where no class has a name, the file has no lines either.
    for names in [vec![], vec![String::new(); 3]] {
        file.header.class_names = names;
        let options = QuantiseOptions { pictures: 2, tests: 0, ..QuantiseOptions::default() };
        let bytes = AlignedBytes::copy(&export(&file, None, &options).expect("exports").bytes);
        let model = Model::read(bytes.bytes()).expect("reads");
        assert_eq!((model.header().class_names, model.class_names().count()), ("", 3));
    }
}

/// One channel far above the others takes the range of all, and the exporter says so.
#[test]
fn a_model_that_int8_spoils_is_told_from_others() {
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/v0.1/model.safetensors");
    let spoilt = |file: &ModelFile| {
        let options = QuantiseOptions { pictures: 24, tests: 0, ..QuantiseOptions::default() };
        let exported = export(file, None, &options).expect("exports");
        compare(file, &exported, &[0, 1, 2], 4)
            .expect("compares")
            .spoilt()
            .map(|site| site.snr_db)
    };
    let good = ModelFile::load(&trained).expect("loads");
    assert_eq!(spoilt(&good), None);
    // A site that is always 0 has no signal, and nothing that could spoil it.
    let mut silent = good.clone();
    for (entry, param) in silent.set.entries().iter().zip(silent.header.model.params()) {
        if param.site.layer == Layer::Qkv {
            silent.params[entry.range.clone()].fill(0.0);
        }
    }
    assert_eq!(spoilt(&silent), None);
    for name in ["encoder.patch_embed.weight", "encoder.blocks.0.mlp.fc1.weight"] {
        let mut file = good.clone();
        let entry = file.set.entries().iter().find(|entry| entry.name == name).expect("a layer");
        let row = entry.range.start..entry.range.start + entry.dims[1];
        file.params[row].iter_mut().for_each(|weight| *weight *= 1000.0);
        assert!(spoilt(&file).is_some_and(|snr| snr < LOW_SNR_DB), "{name}");
    }
}
