//! The authors' checkpoints in and out: against PyTorch's own answers at a tiny size (tests/gen/authors_checkpoint.py), through the
//! library and through the program.

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::presets::Preset;
use pixgen_edge::model_file::{Content, ModelFile};
use pixgen_edge::tensor_file::{self, Shaped};
use pixgen_tests::devices;
use pixgen_tests::program::{fails, pixgen, succeeds};
use pixgen_train::device::DeviceChoice;
use pixgen_train::weights::export::export;
use pixgen_train::weights::import::{ImportError, Imported, Known, Set, import};
use pixgen_train::weights::source::TensorSource;
use pixgen_train::weights::verify::{TOLERANCE, VerifyError, verify};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

static TINY: Preset = Preset {
    name: "tiny",
    about: "tests",
    model: ModelConfig {
        size: 8,
        channels: 3,
        patch: 4,
        classes: 1000,
        encoder: Tower { depth: 2, width: 8, heads: 2 },
        decoder: Tower { depth: 2, width: 12, heads: 3 },
    },
    shift: 0.5,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/authors").join(name)
}

fn known(set: Set) -> Known {
    Known { preset: Some(&TINY), objective: Some(Content::Denoiser), set, ..Known::default() }
}

fn imported(checkpoint: &Path, known: &Known) -> (tempfile::TempDir, PathBuf, Imported) {
    let folder = tempfile::tempdir().expect("folder");
    let out = folder.path().join("model.safetensors");
    let imported = import(checkpoint, known, &out).unwrap_or_else(|error| panic!("{error}\n{:?}", error.hint()));
    (folder, out, imported)
}

fn refused(checkpoint: &Path, known: &Known) -> ImportError {
    let folder = tempfile::tempdir().expect("folder");
    let error = import(checkpoint, known, &folder.path().join("model.safetensors")).expect_err("refused");
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0, "a file was left");
    error
}

/// The tensors of a file, changed, as a safetensors file with the same names.
fn changed(checkpoint: &Path, change: impl Fn(&mut Vec<(Shaped, Vec<f32>)>)) -> tempfile::NamedTempFile {
    let source = TensorSource::open(checkpoint).expect("source");
    let tensors = source.tensors().iter().enumerate();
    let mut tensors: Vec<_> = tensors.map(|(at, tensor)| (tensor.clone(), source.read(at).expect("values"))).collect();
    change(&mut tensors);
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile().expect("file");
    let list: Vec<Shaped> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    tensor_file::write(file.path(), HashMap::new(), &list, |at| Ok::<_, ()>(&tensors[at].1)).expect("writes");
    file
}

#[test]
fn a_model_with_a_decoder_answers_as_in_pytorch() {
    let (_folder, out, done) = imported(&golden("tiny.pth"), &known(Set::Ema));
    assert_eq!(
        (done.header.content, done.header.model.classes, done.header.ema.as_str()),
        (Content::Denoiser, 5, "nnet_ema.module")
    );
    for device in devices() {
        let agreements = verify(&out, &done.header, &golden("tiny-vectors.safetensors"), device).expect("the same");
        println!("{device}: {agreements:?}");
        assert!(
            agreements[0].name == "output" && agreements[0].scale > 0.5 && agreements[0].difference < TOLERANCE / 10.0,
            "{device}: {agreements:?}"
        );
    }
    // The file is whole for everybody else.
    let file = ModelFile::load(&out).expect("a model file");
    assert_eq!((file.params.len(), done.values), (file.header.model.parameter_count(), file.params.len()));

    // The weights that are not averaged give other pictures, and so the comparison would see a mistake.
    let (_folder, out, done) = imported(&golden("tiny.pth"), &known(Set::Key("nnet".to_owned())));
    let error = verify(&out, &done.header, &golden("tiny-vectors.safetensors"), DeviceChoice::Cpu).expect_err("other weights");
    assert!(matches!(error, VerifyError::Differs { name: "output", difference, .. } if difference > 0.1), "{error}");
}

#[test]
fn an_encoder_with_and_without_projector() {
    let of_encoder = Known { objective: None, ..known(Set::Only) };
    let (_folder, out, done) = imported(&golden("tiny-encoder.pth"), &of_encoder);
    assert_eq!((done.header.content, done.header.ema.as_str()), (Content::Encoder, "tiny-encoder"));
    for device in devices() {
        let agreements = verify(&out, &done.header, &golden("tiny-encoder-vectors.safetensors"), device).expect("the same");
        let names: Vec<_> = agreements.iter().map(|a| a.name).collect();
        assert_eq!(names, ["feature", "projected"]);
    }
    assert!(ModelFile::load_content(&out, Content::Encoder).expect("loads").statistics.is_some());

    let bare = changed(&golden("tiny-encoder.pth"), |tensors| tensors.retain(|(t, _)| !t.name.starts_with("projection_head.")));
    let (_folder, out, done) = imported(bare.path(), &of_encoder);
    let agreements = verify(&out, &done.header, &golden("tiny-encoder-vectors.safetensors"), DeviceChoice::Cpu).expect("the same");
    assert_eq!(agreements.len(), 1);
    assert!(ModelFile::load_content(&out, Content::Encoder).expect("loads").statistics.is_none());
}

#[test]
fn out_and_in_again() {
    for (checkpoint, known) in [
        (golden("tiny.pth"), known(Set::Ema)),
        (golden("tiny-encoder.pth"), Known { objective: None, ..known(Set::Only) }),
    ] {
        let (folder, out, _) = imported(&checkpoint, &known);
        let first = ModelFile::load(&out).expect("loads");
        let exported = folder.path().join("theirs.safetensors");
        export(&first, &exported).expect("exports");
        let source = TensorSource::open(&exported).expect("safetensors");
        let patch = source.tensors().iter().find(|t| t.name == "patch_embed.proj.weight").expect("their name");
        assert_eq!(patch.shape, [8, 3, 4, 4]);
        let (_folder, out, _) = imported(&exported, &Known { set: Set::Only, ..known });
        let second = ModelFile::load(&out).expect("loads");
        assert_eq!((first.header, first.params, first.statistics), (second.header, second.params, second.statistics));
    }
}

#[test]
fn which_weights_is_never_guessed() {
    let error = refused(&golden("tiny.pth"), &known(Set::Only));
    assert!(matches!(error, ImportError::Sets { .. }), "{error}");
    assert!(error.to_string().contains("`nnet`, `nnet_ema.module`"), "{error}");
    let error = refused(&golden("tiny.pth"), &known(Set::Key("model".to_owned())));
    assert!(error.to_string().contains("no weights under `model`"), "{error}");
    let error = refused(&golden("tiny-encoder.pth"), &Known { objective: None, ..known(Set::Ema) });
    assert!(error.to_string().contains("one set at the top"), "{error}");

    let nobody_said = Known { objective: None, ..known(Set::Ema) };
    assert!(matches!(refused(&golden("tiny.pth"), &nobody_said), ImportError::Objective { .. }));
    assert!(matches!(refused(&golden("tiny-encoder.pth"), &known(Set::Only)), ImportError::NoDecoder { .. }));
    let unknown = Known { preset: None, ..known(Set::Ema) };
    assert!(matches!(refused(&golden("tiny.pth"), &unknown), ImportError::Unknown { .. }));
    let error = refused(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/pytorch/zip.pth"), &known(Set::Only));
    assert!(matches!(error, ImportError::Foreign { tensors: 25, .. }), "{error}");
    let names = Known { class_names: Some(vec!["cat".to_owned()]), ..known(Set::Ema) };
    assert!(matches!(refused(&golden("tiny.pth"), &names), ImportError::ClassNames { names: 1, classes: 5 }));
}

#[test]
fn every_difference_is_listed() {
    let file = changed(&golden("tiny.pth"), |tensors| {
        tensors.retain(|(t, _)| t.name.starts_with("nnet.") && t.name != "nnet.blocks.1.mlp.fc2.bias");
        tensors.push((Shaped { name: "nnet.qnorm.weight".to_owned(), shape: vec![8] }, vec![0.0; 8]));
        let (out, values) = tensors.iter_mut().find(|(t, _)| t.name == "nnet.out.weight").expect("tensor");
        (out.shape[0], *values) = (47, vec![0.0; 47 * 12]);
    });
    let error = refused(file.path(), &known(Set::Only)).to_string();
    for part in [
        "does not fit tiny: 3 tensors differ",
        "blocks.1.mlp.fc2.bias is missing, [8] expected",
        "out.weight is [47, 12], [48, 12] expected",
        "qnorm.weight is left over, [8]",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Of many, the first ten.
    let error =
        refused(&golden("tiny.pth"), &Known { preset: pixgen_core::presets::preset("EPG-L-16-256"), ..known(Set::Ema) }).to_string();
    assert!(error.lines().count() == 12 && error.contains(" more"), "{error}");

    let infinite = changed(&golden("tiny-encoder.pth"), |tensors| tensors[3].1[5] = f32::INFINITY);
    let error = refused(infinite.path(), &Known { objective: None, ..known(Set::Only) });
    assert!(matches!(&error, ImportError::Value { at: 5, .. }), "{error}");
}

#[test]
fn safetensors_whose_header_lies() {
    let with = |header: &str, len: Option<u64>| {
        let bytes = [&len.unwrap_or(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat();
        let file = tempfile::Builder::new().suffix(".safetensors").tempfile().expect("file");
        fs::write(file.path(), bytes).expect("file");
        TensorSource::open(file.path()).expect_err("refused").to_string()
    };
    let tensor = |dtype: &str, shape: &str, end: &str| format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    for (header, want) in [
        (tensor("F32", "[8]", "32"), "tensor a reaches beyond it"),
        (tensor("F32", "[2]", "16"), "invalid shape, data type, or offset"),
        (tensor("F32", "[4611686018427387904, 16]", "16"), "overflow"),
        (tensor("F32", "[2]", "18446744073709551615"), "invalid shape, data type, or offset"),
        (tensor("F8_E4M3", "[16]", "16"), "F8_E4M3"),
        ("{".to_owned(), "EOF"),
    ] {
        let error = with(&header, None);
        assert!(error.contains("not a whole safetensors file") && error.contains(want), "{want}: {error}");
    }
    for len in [1000, u64::MAX] {
        assert!(with("{}", Some(len)).contains("shorter than its header"));
    }
}

#[test]
fn through_the_program() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("path").to_owned();
    let checkpoint = golden("tiny.pth").to_str().expect("path").to_owned();
    let import = |rest: &[&str]| pixgen([&["import", &checkpoint, "--out", &path("m.safetensors")], rest].concat());
    fails(
        import(&["--preset", "EPG-XL-16-256", "--ema", "--objective", "diffusion"]),
        &["does not fit EPG-XL-16-256", "hint: "],
    );
    fails(import(&["--ema"]), &["what it was trained as", "--objective diffusion"]);
    fails(import(&["--preset", "EPG-XL"]), &["there is no preset `EPG-XL`"]);

    let whole = fs::read(golden("tiny.pth")).expect("file");
    fs::write(path("half.pth"), &whole[..whole.len() / 2]).expect("file");
    fails(pixgen(["import", &path("half.pth"), "--out", &path("m.safetensors")]), &["half.pth is damaged", "hint: "]);
    assert!(!Path::new(&path("m.safetensors")).exists());

    let model = small();
    fs::write(path("small.safetensors"), model.to_bytes().expect("bytes")).expect("file");
    fs::write(path("eval.json"), r#"{"schema": 2, "rows": [{"generated": {"frechet": 12.5}, "real": {"frechet": 0.5}}]}"#).expect("file");
    let export = |rest: &[&str]| pixgen([&["export", &path("small.safetensors")], rest].concat());
    succeeds(export(&["--to", "pytorch-safetensors", "--out", &path("theirs.safetensors")]));
    let back = path("back.safetensors");
    let done = succeeds(pixgen(["import", &path("theirs.safetensors"), "--objective", "consistency", "--out", &back]));
    assert!(done.stderr.contains("small-28-grey"), "the preset is found by its shapes: {}", done.stderr);
    assert_eq!(ModelFile::load(Path::new(&back)).expect("loads").params, model.params);

    succeeds(export(&[
        "--card",
        "--license",
        "mit",
        "--eval",
        &path("eval.json"),
        "--out",
        &path("hub/shirts"),
    ]));
    let card = fs::read_to_string(path("hub/shirts/README.md")).expect("card");
    assert!(
        card.starts_with("---\nlicense: mit\n") && card.contains("# shirts\n") && card.contains("| generated.frechet | 12.5 |"),
        "{card}"
    );
    assert_eq!(ModelFile::load(Path::new(&path("hub/shirts"))).expect("loads").params, model.params);
    fails(export(&["--card", "--license", "a: b", "--out", &path("hub2")]), &["not a licence identifier"]);
    fails(export(&["--card", "--eval", &path("small.safetensors"), "--out", &path("hub2")]), &["small.safetensors"]);
}

/// A one-step model before training.
fn small() -> ModelFile {
    let model = pixgen_core::presets::preset("small-28-grey").expect("preset").model;
    let header = pixgen_edge::model_file::ModelHeader {
        format: pixgen_edge::model_file::FORMAT,
        content: Content::Generator,
        model,
        noise: pixgen_core::noise::NoiseConfig::with_shift(1.0),
        parametrisation: pixgen_core::noise::Parametrisation::Edm,
        normalisation: pixgen_edge::data::normalise::Normalisation::simple(),
        projector: None,
        ema: "raw".into(),
        images: 7,
        seed: 1,
        data: "none".into(),
        class_names: (0..10).map(|class| class.to_string()).collect(),
    };
    let set = header.params();
    ModelFile { params: set.initialise(3), header, set, statistics: None }
}
