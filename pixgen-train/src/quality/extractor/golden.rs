//! The networks and the resizing against other people's: tests/golden/feature_networks.safetensors of
//! tests/gen/feature_networks_golden.py, with weights and images by formula.

use std::path::Path;

use super::resize::resize;
use super::*;
use pixgen_core::rng::Rng;

const GOLDEN: &[u8] = include_bytes!("../../../../tests/golden/feature_networks.safetensors");
const SEED: u64 = 5;

fn golden(name: &str, shape: &[usize]) -> Vec<f32> {
    Weights::new(GOLDEN, Path::new("golden")).unwrap().tensor(name, shape).unwrap()
}

/// `weight` of the script.
fn formula() -> Weights<'static> {
    Weights::from_fn(|name, shape| {
        let rng = Rng::new(SEED, u64::from(crc32fast::hash(name.as_bytes())));
        let count: usize = shape.iter().product();
        let words = (0..count.div_ceil(4) as u64).flat_map(|block| rng.words(block)).take(count);
        let uniform = words.map(|word| (word >> 8) as f32 / (1 << 24) as f32);
        if name.ends_with("running_var") {
            return uniform.map(|u| u + 0.5).collect();
        }
        if name.ends_with("running_mean") || name.ends_with("bias") {
            return uniform.map(|u| (u - 0.5) * 0.25).collect();
        }
        if shape.len() == 1 {
            return uniform.map(|u| u + 0.5).collect();
        }
        let scale = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt() as f32;
        uniform.map(|u| (2.0 * u - 1.0) * scale).collect()
    })
}

/// `images` of the script: squares of 8 x 8 pixels.
fn images(stream: u64, n: usize, shape: ImageShape) -> Vec<u8> {
    let (rows, columns) = (shape.height.div_ceil(8), shape.width.div_ceil(8));
    let rng = Rng::new(SEED, stream);
    let mut pixels = Vec::new();
    for image in 0..n {
        for (y, x) in (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x))) {
            let square = (image * rows + y / 8) * columns + x / 8;
            pixels.extend((0..shape.channels).map(|c| (rng.u32((square * shape.channels + c) as u64) >> 24) as u8));
        }
    }
    pixels
}

fn shape(height: usize, width: usize, channels: usize) -> ImageShape {
    ImageShape { height, width, channels }
}

/// Within `tolerance` of the largest value.
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance * scale, "{what}: off by {worst} of {scale}, {:?} {:?}", &found[..4], &expected[..4]);
}

#[test]
fn efficientnet_is_that_of_its_package() {
    let mut extractor =
        Extractor::new(FeatureRecipe::new(FeatureNetwork::EfficientNetLite0, None, Some(64), None).unwrap(), &formula()).unwrap();
    let pictures = images(1, 2, shape(64, 64, 3));
    for layer in FeatureNetwork::EfficientNetLite0.layers() {
        extractor.recipe.layer = *layer;
        let found = extractor.features(&pictures, shape(64, 64, 3)).unwrap();
        let name = format!("efficientnet.{}", layer.name);
        assert_close(&name, &found.values, &golden(&name, &[2, layer.width]), 1e-5);
    }
    // More images than a task takes: each has the same features as alone.
    let many = images(9, 7, shape(20, 30, 1));
    extractor.recipe = FeatureRecipe::new(FeatureNetwork::EfficientNetLite0, Some("112"), Some(32), None).unwrap();
    let together = extractor.features(&many, shape(20, 30, 1)).unwrap();
    let alone = extractor.features(&many[6 * 600..], shape(20, 30, 1)).unwrap();
    assert_eq!((together.n, together.dim), (7, 112));
    assert_close("alone", together.row(6), alone.row(0), 1e-6);
}

#[test]
fn inception_is_that_of_torch_fidelity() {
    let recipe = FeatureRecipe::new(FeatureNetwork::Inception, None, None, Some(Resize::TfBilinear)).unwrap();
    let mut extractor = Extractor::new(recipe, &formula()).unwrap();
    let picture = images(2, 1, shape(48, 40, 3));
    for layer in FeatureNetwork::Inception.layers() {
        extractor.recipe.layer = *layer;
        let found = extractor.features(&picture, shape(48, 40, 3)).unwrap();
        let name = format!("inception.{}", layer.name);
        assert_close(&name, &found.values, &golden(&name, &[1, layer.width]), 2e-5);
    }
}

#[test]
fn resizing_is_that_of_pil_and_of_tensorflow() {
    for (number, (height, width, side)) in [(23, 17, 32), (61, 40, 19)].into_iter().enumerate() {
        let from = shape(height, width, 3);
        let picture = images(3 + number as u64, 1, from);
        for (name, how) in [("pil", Resize::PilBicubic), ("tensorflow", Resize::TfBilinear)] {
            let name = format!("{name}.{number}");
            assert_close(&name, &resize(&picture, from, side, how), &golden(&name, &[side, side, 3]), 1e-6);
        }
    }
}

#[test]
fn grey_is_repeated_and_equal_sizes_are_untouched() {
    let grey = images(1, 1, shape(9, 9, 1));
    let expected: Vec<f32> = grey.iter().flat_map(|&p| [f32::from(p); 3]).collect();
    for how in [Resize::None, Resize::PilBicubic, Resize::TfBilinear] {
        assert_eq!(resize(&grey, shape(9, 9, 1), 9, how), expected);
    }
    let wide = resize(&[7; 30], shape(3, 10, 1), 32, Resize::PilBicubic);
    assert!(wide.len() == 32 * 32 * 3 && wide.iter().all(|value| (value - 7.0).abs() < 1e-5));
}

#[test]
fn recipes_are_checked_and_named() {
    for network in FeatureNetwork::ALL {
        assert_eq!(network.to_string().parse::<FeatureNetwork>(), Ok(network));
        let usual = FeatureRecipe::new(network, None, None, None).unwrap();
        assert!(network.layers().iter().any(|layer| layer.name == usual.layer.name));
    }
    assert!("fid".parse::<FeatureNetwork>().unwrap_err().contains("inception"));
    let fid = FeatureRecipe::new(FeatureNetwork::Inception, None, None, None).unwrap();
    assert_eq!(fid.distance_names(), ("FID".to_owned(), "KID".to_owned()));
    assert_eq!(fid.to_string(), "inception, layer 2048, input 299, resize pil-bicubic");
    let json = serde_json::to_value(fid.info()).unwrap();
    let expected = serde_json::json!({
        "network": "inception", "layer": "2048", "input": 299, "resize": "pil-bicubic", "frechet_name": "FID", "kernel_name": "KID",
    });
    assert_eq!(json, expected);
    let other = FeatureRecipe::new(FeatureNetwork::Inception, Some("768"), None, None).unwrap();
    assert!(!other.distance_names().0.contains("FID"));
    let error = FeatureRecipe::new(FeatureNetwork::EfficientNetLite0, Some("2048"), None, None).unwrap_err();
    assert_eq!(error.to_string(), "efficientnet-lite0 has no layer `2048`");
    assert_eq!(error.hint().unwrap(), "its layers are 40, 112, 1280, logits");
    let error = FeatureRecipe::new(FeatureNetwork::Inception, None, Some(96), None).unwrap_err();
    assert_eq!(error.hint().unwrap(), "it sees 299 x 299 only");
    assert!(FeatureRecipe::new(FeatureNetwork::EfficientNetLite0, None, Some(8), None).is_err());
}

#[test]
fn bad_files_and_pictures_are_errors() {
    let recipe = FeatureRecipe::new(FeatureNetwork::EfficientNetLite0, None, None, None).unwrap();
    // A file that somebody named is misspelt; the one that `data get` writes was not fetched.
    let error = Extractor::load(recipe, Path::new("/nowhere/weights.safetensors")).err().unwrap();
    assert!(error.hint().unwrap().contains("spelling"), "{error}");
    let (network, source) = (recipe.network, std::io::ErrorKind::NotFound.into());
    let error = QualityError::WeightsMissing { network, path: cache::efficientnet_lite0(), source };
    assert!(error.hint().unwrap().contains("pixgen-train data get efficientnet-lite0"), "{error}");
    let error = Extractor::new(recipe, &Weights::new(GOLDEN, Path::new("golden")).unwrap()).err().unwrap();
    assert!(matches!(error, QualityError::Weight { .. }) && error.hint().is_some(), "{error}");
    let fashion = Extractor::fashion().unwrap();
    assert!(matches!(
        fashion.features(&[0; 3 * 64], shape(8, 8, 3)),
        Err(QualityError::Eval(EvalError::ImageShape { .. }))
    ));
    assert!(matches!(
        fashion.features(&[0; 65], shape(8, 8, 1)),
        Err(QualityError::Eval(EvalError::PartialImage { bytes: 65, .. }))
    ));
    assert_eq!(fashion.features(&[0; 2 * 784], shape(28, 28, 1)).unwrap().n, 2);
}
