//! ONNX graphs: what they hold, that they give the pictures of the networks they were made from, and inputs that are none.
//!
//! Here an evaluator of the tests' own runs them; `tests/gen/onnx_check.py` runs them in onnxruntime.

#[path = "../random/mod.rs"]
mod random;

mod evaluate;

use clap::ValueEnum;
use evaluate::{Tensor, evaluate};
use pixgen_core::config::ModelConfig;
use pixgen_core::noise::Parametrisation;
use pixgen_core::params::{Layer, Side};
use pixgen_core::pxg::{Model, PREFIX_LEN};
use pixgen_core::rng::Rng;
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::model_file::ModelFile;
use pixgen_edge::onnx::proto::{DimensionValue, Element, ModelProto, ValueInfoProto};
use pixgen_edge::onnx::{OnnxError, OnnxTarget, WeightBits, float_graph, integer_graph, qdq_graph, target_graph};
use pixgen_edge::quantise::draw::{draw_integer, draw_values, requests};
use pixgen_edge::quantise::{Exported, QuantiseOptions, export};
use prost::Message;
use random::{generator, shapes};
use std::path::Path;
use std::process::{Command, Output};

const CLASSES: [usize; 3] = [0, 1, 2];
const SEED: u64 = 9;

fn models() -> impl Iterator<Item = ModelFile> {
    shapes()
        .into_iter()
        .flat_map(|model| [Parametrisation::PlainX, Parametrisation::Edm].map(|p| generator(model, p)))
}

fn exported(file: &ModelFile, steps: usize) -> Exported {
    let options = QuantiseOptions { steps, pictures: 6, tests: 0, ..QuantiseOptions::default() };
    export(file, None, &options).expect("exports")
}

/// The graph in its three forms.
fn forms(file: &ModelFile, exported: &Exported, batch: Option<usize>) -> [ModelProto; 3] {
    let bytes = AlignedBytes::copy(&exported.bytes);
    let model = Model::read(bytes.bytes()).expect("reads");
    [
        float_graph(file, &CLASSES, batch).expect("float"),
        qdq_graph(file, exported, &CLASSES, batch, WeightBits::Eight).expect("qdq"),
        integer_graph(&model, batch).expect("integer"),
    ]
}

/// Inputs of the graph for pictures number 0 .. of [`SEED`], of these classes.
fn inputs(config: &ModelConfig, classes: &[usize]) -> [(&'static str, Tensor); 2] {
    let (c, side) = (config.channels, config.size);
    let noise: Vec<f64> = (0..classes.len() as u64)
        .flat_map(|number| {
            let values: Vec<i32> = Rng::new(SEED, stream(Purpose::Latent, number))
                .gaussians_q16(0)
                .take(config.image_len())
                .collect();
            // H W C to C H W.
            let at = move |i: usize| f64::from(values[i % (side * side) * c + i / (side * side)]) / 65_536.0;
            (0..config.image_len()).map(at)
        })
        .collect();
    let numbers = classes.iter().map(|&class| class as i64).collect();
    [
        ("noise", Tensor::real(&[classes.len(), c, side, side], noise)),
        ("class", Tensor::whole(&[classes.len()], numbers)),
    ]
}

/// Pictures `[N, C, H, W]` as H W C.
fn interleaved<T: Copy>(config: &ModelConfig, values: &[T]) -> Vec<T> {
    let (c, plane) = (config.channels, config.size * config.size);
    let pictures = values.chunks_exact(config.image_len());
    pictures
        .flat_map(|picture| (0..config.image_len()).map(move |i| picture[i % c * plane + i / c]))
        .collect()
}

fn largest(a: &[f64], b: impl Iterator<Item = f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Float within 1e-4 of the reference; the integers byte for byte; int8 products within two grey levels, root mean square.
#[test]
fn graphs_give_the_pictures_of_their_networks() {
    let classes = [2, 0, 1];
    for file in models() {
        let config = &file.header.model;
        let exported = exported(&file, 1);
        let [float, qdq, integer] = forms(&file, &exported, None);
        let inputs = inputs(config, &classes);
        let requests = requests(SEED, 0, &classes);

        let picture = interleaved(config, &evaluate(&float, &inputs)["picture"].reals());
        let want = draw_values(&file, &requests, 1).expect("draws");
        let error = largest(&picture, want.iter().map(|&v| f64::from(v)));
        assert!(error < 1e-4, "{config:?}: {error}");

        let bytes = AlignedBytes::copy(&exported.bytes);
        let model = Model::read(bytes.bytes()).expect("reads");
        let want = draw_integer(&model, &requests).expect("draws");
        let pixels = interleaved(config, &evaluate(&integer, &inputs)["pixels"].wholes());
        assert!(pixels.iter().eq(want.iter().map(|&byte| i64::from(byte)).collect::<Vec<_>>().iter()), "{config:?}");

        let pixels = interleaved(config, &evaluate(&qdq, &inputs)["pixels"].wholes());
        let squares = pixels.iter().zip(&want).map(|(&a, &b)| (a as f64 - f64::from(b)).powi(2));
        let rms = (squares.sum::<f64>() / want.len() as f64).sqrt();
        assert!(rms < 2.0, "{config:?}: {rms}");
    }
}

/// What the tools behind each target refuse or leave to the CPU is not there, and the levels are the float network's.
#[test]
fn graphs_for_tool_chains_give_the_levels_of_the_float_network() {
    for file in models() {
        let config = &file.header.model;
        let request = requests(SEED, 0, &[1]);
        let [(_, noise), _] = inputs(config, &[1]);
        let noise = interleaved(config, &noise.reals());
        let want = draw_values(&file, &request, 1).expect("draws");
        let normalisation = &file.header.normalisation;
        let level = |(i, v): (usize, &f32)| {
            let c = i % config.channels;
            255.0 * (f64::from(normalisation.mean[c]) + f64::from(normalisation.std[c]) * f64::from(*v))
        };
        let want: Vec<f64> = want.iter().enumerate().map(level).collect();
        for target in OnnxTarget::value_variants() {
            let (graph, rows) = target_graph(&file, &CLASSES, *target).expect("a graph");
            let (side, in_patches) = (config.size, target.takes_rows());
            let mut given = vec![if in_patches {
                ("noise".to_owned(), Tensor::real(&[1, config.patches(), config.patch_len()], in_order(config, &noise)))
            } else {
                ("noise".to_owned(), Tensor::real(&[1, side, side, config.channels], noise.clone()))
            }];
            if rows.is_empty() {
                given.push(("class".to_owned(), Tensor::real(&[1, 1, 3], vec![0.0, 1.0, 0.0])));
            }
            for row in &rows {
                let values = row.values[row.width..2 * row.width].iter().map(|&v| f64::from(v)).collect();
                given.push((row.name.clone(), Tensor::real(&[1, 1, row.width], values)));
            }
            let given: Vec<(&str, Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            let levels = evaluate(&graph, &given)["levels"].reals().to_vec();
            let want = if in_patches { in_order(config, &want) } else { want.clone() };
            // Levels are not clamped; what is compared with is.
            let error = levels
                .iter()
                .zip(&want)
                .map(|(a, b)| (a.clamp(0.0, 255.0) - b.clamp(0.0, 255.0)).abs())
                .fold(0.0, f64::max);
            assert!(error < 0.01, "{target:?} {config:?}: {error}");
            for node in &graph.graph.as_ref().expect("a graph").node {
                let refused = ["Gather", "SpaceToDepth", "DepthToSpace", "Cast", "Floor", "Clip"];
                assert!(!refused.contains(&node.op_type.as_str()), "{target:?}: {}", node.name);
                assert!(*target != OnnxTarget::Nncase || node.op_type != "LayerNormalization", "{}", node.name);
            }
        }
    }
}

/// A picture H W C patch by patch, row by row of pixels in each.
fn in_order(config: &ModelConfig, picture: &[f64]) -> Vec<f64> {
    let (side, channels) = (config.patch, config.channels);
    let pixel = |patch: usize, at: usize| {
        let (y, x) = (patch / config.across() * side + at / side, patch % config.across() * side + at % side);
        picture[(y * config.size + x) * channels..][..channels].to_vec()
    };
    (0..config.patches())
        .flat_map(|patch| (0..side * side).flat_map(move |at| pixel(patch, at)))
        .collect()
}

/// A file reads back as it was; names of parameters are those of the list; weights of the quantised forms are int8.
#[test]
fn names_types_and_metadata() {
    for file in models() {
        let exported = exported(&file, 1);
        for (form, model) in ["float", "qdq", "integer"].into_iter().zip(forms(&file, &exported, None)) {
            assert_eq!(ModelProto::decode(&model.encode_to_vec()[..]).expect("reads"), model);
            let graph = model.graph.as_ref().expect("graph");
            let metadata = |key: &str| {
                let entry = model.metadata_props.iter().find(|entry| entry.key == format!("pixgen.{key}"));
                entry.map(|entry| entry.value.as_str()).unwrap_or_default()
            };
            assert_eq!(metadata("form"), form);
            assert_eq!(metadata("class_names"), "class 0\nclass 1\nclass 2");
            assert_eq!(metadata("source"), crc32fast::hash(bytemuck::cast_slice(&file.params)).to_string());
            assert!(metadata("model").contains("\"patch\""), "{}", metadata("model"));
            for param in file.header.model.params() {
                let name = param.name();
                // What a class and the noise level fold into is in tables.
                if matches!(param.site.layer, Layer::ClassToken | Layer::ClassEmbed | Layer::Modulation) {
                    continue;
                }
                let parts: Vec<_> = graph
                    .initializer
                    .iter()
                    .filter(|t| t.name == *name || (t.name.starts_with(&format!("{name}.")) && !t.name.ends_with(".scale")))
                    .collect();
                let modulated = param.site.side == Side::Decoder && matches!(param.site.layer, Layer::Norm1 | Layer::Norm2);
                let values: usize = parts.iter().map(|t| t.dims.iter().product::<i64>() as usize).sum();
                let copies = if form == "integer" && modulated { CLASSES.len() } else { 1 };
                if values == 0 && name.ends_with("bias") {
                    continue; // of zeros
                }
                assert_eq!(values, copies * param.len(), "{form} {name}");
                if form != "float" && param.rank == 2 && param.site.layer != Layer::Position {
                    assert!(parts.iter().all(|t| t.data_type == Element::Int8 as i32), "{form} {name}");
                }
            }
        }
    }
}

#[test]
fn inputs_and_outputs_have_names_types_and_shapes() {
    let file = models().next().expect("a model");
    let exported = exported(&file, 1);
    for (batch, first) in [(None, DimensionValue::DimParam("N".into())), (Some(5), DimensionValue::DimValue(5))] {
        for (form, model) in forms(&file, &exported, batch).into_iter().enumerate() {
            let graph = model.graph.expect("graph");
            let shape = |info: &ValueInfoProto| {
                let tensor = info.r#type.clone().and_then(|of| of.tensor_type).expect("a tensor");
                let dims: Vec<_> = tensor.shape.expect("a shape").dim.into_iter().filter_map(|dim| dim.value).collect();
                (info.name.clone(), tensor.elem_type, dims)
            };
            let picture = || [&[first.clone()][..], &[1, 28, 28].map(DimensionValue::DimValue)].concat();
            let info = |name: &str, of: Element, dims: Vec<DimensionValue>| (name.to_owned(), of as i32, dims);
            let inputs: Vec<_> = graph.input.iter().map(shape).collect();
            assert_eq!(
                inputs,
                [
                    info("noise", Element::Float, picture()),
                    info("class", Element::Int64, vec![first.clone()])
                ]
            );
            let outputs: Vec<_> = graph.output.iter().map(shape).collect();
            let pixels = info("pixels", Element::Uint8, picture());
            if form < 2 {
                assert_eq!(outputs, [info("picture", Element::Float, picture()), pixels]);
            } else {
                assert_eq!(outputs, [pixels]);
            }
        }
    }
}

/// Files of two steps, and numbers that no exporter writes, are errors or graphs, and nothing else.
#[test]
fn forged_files_do_not_panic() {
    let file = models().nth(9).expect("a model");
    let two = AlignedBytes::copy(&exported(&file, 2).bytes);
    let model = Model::read(two.bytes()).expect("reads");
    assert!(matches!(integer_graph(&model, None), Err(OnnxError::Steps { steps: 2 })));
    assert!(matches!(
        qdq_graph(&file, &exported(&file, 2), &CLASSES, None, WeightBits::Eight),
        Err(OnnxError::Steps { steps: 2 })
    ));

    let good = exported(&file, 1).bytes;
    let start = u32::from_le_bytes([good[12], good[13], good[14], good[15]]) as usize;
    let (mut graphs, mut refused, mut unread) = (0, 0, 0);
    for at in (start..good.len() - 4).step_by(8) {
        for word in [i32::MIN, -1, 31, i32::MAX] {
            let mut forged = good.clone();
            forged[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let mut crc = crc32fast::Hasher::new();
            crc.update(&forged[..PREFIX_LEN - 4]);
            crc.update(&forged[PREFIX_LEN..]);
            forged[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&crc.finalize().to_le_bytes());
            let forged = AlignedBytes::copy(&forged);
            match Model::read(forged.bytes()).map(|model| integer_graph(&model, None)) {
                Ok(Ok(_)) => graphs += 1,
                Ok(Err(OnnxError::Wraps { .. })) => refused += 1,
                Ok(Err(error)) => panic!("byte {at}, {word}: {error}"),
                Err(_) => unread += 1,
            }
        }
    }
    assert!(graphs > 500 && refused > 10 && unread > 10, "{graphs} {refused} {unread}");
}

fn onnx(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixgen-edge"));
    command.arg("onnx").args(arguments).output().expect("runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn the_program_writes_graphs_and_vectors() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let file = models().nth(9).expect("a model");
    std::fs::write(at("m.safetensors"), file.to_bytes().expect("bytes")).expect("writes");
    std::fs::write(at("m.pxg"), exported(&file, 1).bytes).expect("writes");
    for (model, form) in [
        ("m.safetensors", "float"),
        ("m.safetensors", "qdq"),
        ("m.safetensors", "integer"),
        ("m.pxg", "integer"),
    ] {
        let (graph, vectors) = (at("out.onnx"), at("out.safetensors"));
        // Pictures are for who quantises: real numbers need none, and a .pxg file has its own.
        let pictures = if model == "m.safetensors" && form != "float" {
            &["--pictures", "4"][..]
        } else {
            &[]
        };
        let (model, graph_path, vectors_path) = (at(model), text(&graph), text(&vectors));
        let arguments = [
            text(&model),
            "--form",
            form,
            "--count",
            "5",
            "-o",
            graph_path,
            "--vectors",
            vectors_path,
        ];
        let done = onnx(&[&arguments[..], pictures].concat());
        assert!(done.status.success() && done.stdout.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        let read = ModelProto::decode(&std::fs::read(&graph).expect("written")[..]).expect("a model");
        assert!(read.metadata_props.iter().any(|entry| entry.key == "pixgen.form" && entry.value == form));
        let bytes = std::fs::read(&vectors).expect("written");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
        let mut names = tensors.names();
        names.sort_unstable();
        let picture = if form == "float" { &["picture"][..] } else { &[] };
        assert_eq!(names, [&["class", "noise"], picture, &["pixels"]].concat());
        assert_eq!(tensors.tensor("noise").expect("noise").shape(), [5, 1, 6, 6]);
    }
}

/// Exit code 1, what is wrong, and what to try.
#[test]
fn what_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let file = models().nth(9).expect("a model");
    std::fs::write(at("m.safetensors"), file.to_bytes().expect("bytes")).expect("writes");
    std::fs::write(at("one.pxg"), exported(&file, 1).bytes).expect("writes");
    std::fs::write(at("two.pxg"), exported(&file, 2).bytes).expect("writes");
    std::fs::write(at("text"), "no model").expect("writes");
    let cases = [
        (vec![at("nothing")], "nothing"),
        (vec![at("text")], "is text, not a model file"),
        (vec![at("two.pxg")], "2 steps"),
        (vec![at("one.pxg"), "--form".into(), "qdq".into()], "holds only integers"),
        (vec![at("one.pxg"), "--classes".into(), "1".into()], "holds only integers"),
        (vec![at("m.safetensors"), "--classes".into(), "7".into()], "no such class"),
        (vec![at("m.safetensors"), "--steps".into(), "2".into()], "2 steps"),
        (vec![at("m.safetensors"), "-o".into(), at("no/folder/m.onnx")], "cannot write"),
    ];
    for (arguments, what) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut all = arguments.clone();
        let out = at("unused.onnx");
        if !arguments.contains(&"-o") {
            all.extend(["-o", &out]);
        }
        let done = onnx(&all);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(what) && said.contains("hint: ") && !said.contains("panicked"), "{arguments:?}: {said}");
        assert!(!Path::new(&out).exists());
    }
    assert_eq!(onnx(&[&at("one.pxg"), "--batch", "0"]).status.code(), Some(2));
}
