//! TensorFlow Lite files: what integers draw beside the float network, and weights that no training gives.
//!
//! `tests/gen/tflite_check.py` runs the files in LiteRT.

mod random;
mod spoilt;

use pixgen_core::config::{ModelConfig, Tower};
use pixgen_core::noise::Parametrisation;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::quantise::QuantiseOptions;
use pixgen_edge::tflite::{LiteError, LiteFile, LiteOptions, float_file, integer_file};
use random::{generator, shapes};
use spoilt::{SPOILS, spoil};

fn file(model: &ModelFile, classes: &[usize], pictures: usize) -> Result<LiteFile, LiteError> {
    let options = QuantiseOptions { pictures, classes: classes.to_vec(), ..QuantiseOptions::default() };
    integer_file(model, None, &options, LiteOptions::default())
}

/// Within the two levels that LiteRT's own pictures of these models keep.
#[test]
fn integers_draw_the_pictures_of_the_float_network() {
    for shape in shapes() {
        for parametrisation in [Parametrisation::PlainX, Parametrisation::Edm] {
            let difference = file(&generator(shape, parametrisation), &[2, 0], 20)
                .expect("a file")
                .difference
                .expect("drawn");
            assert_eq!(difference.pictures, 8);
            assert!(difference.rms > 0.05 && difference.worst_rms < 2.0, "{shape:?}: {difference:?}");
        }
    }
}

/// An error that says where, or a file.
#[test]
fn spoilt_weights_end_in_an_error_or_in_a_file() {
    for how in SPOILS {
        let mut model = generator(shapes()[0], Parametrisation::PlainX);
        spoil(&mut model, how);
        match file(&model, &[0, 1, 2], 6) {
            Ok(file) => assert!(file.bytes.len() > 10_000 && file.difference.is_some(), "{how}"),
            Err(error @ (LiteError::Variance { .. } | LiteError::Coarse { .. })) => {
                assert!(how != "dead" && how != "no-attention" && error.hint().is_some(), "{how}: {error}");
            }
            Err(error) => panic!("{how}: {error}"),
        }
    }
}

/// A file says under which licence it may be used, where its maker does.
#[test]
fn a_licence_is_part_of_the_file() {
    let model = generator(shapes()[0], Parametrisation::PlainX);
    let said = |license: Option<&str>, text: &str| {
        let bytes = float_file(&model, &[0, 1, 2], LiteOptions { license, ..LiteOptions::default() })
            .expect("a file")
            .bytes;
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    };
    assert!(said(Some("cc-by-4.0"), "pixgen.license") && said(Some("cc-by-4.0"), "cc-by-4.0"));
    assert!(said(None, "pixgen.header") && !said(None, "pixgen.license"));
}

/// As many patches as a patch has values: the columns of a norm are as long as its rows.
#[test]
fn squares_are_drawn_as_other_shapes_are() {
    let tower = Tower { depth: 1, width: 16, heads: 2 };
    let shape = ModelConfig { size: 8, channels: 1, patch: 2, classes: 3, encoder: tower, decoder: tower };
    assert_eq!(shape.patches(), tower.width);
    let difference = file(&generator(shape, Parametrisation::PlainX), &[2, 0], 20)
        .expect("a file")
        .difference
        .expect("drawn");
    assert!(difference.worst_rms < 2.0, "{difference:?}");
}
