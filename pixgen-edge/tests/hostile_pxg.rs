//! Damaged and forged `.pxg` files: each is refused, or draws some picture. None panics or reads outside its memory.
//!
//! A checksum finds damage. Against intent it is no help, so most tests here forge something and then make the checksum right again.

use pixgen_core::config::{ConfigError, ModelConfig, Tower};
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::noise::{NoiseConfig, Parametrisation};
use pixgen_core::params::{Layer, Side, Site};
use pixgen_core::pxg::layout::Layout;
use pixgen_core::pxg::{Header, Model, PREFIX_LEN, PxgError, encode, file_len};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::workspace::WorkspaceError;
use pixgen_edge::aligned::AlignedBytes;
use pixgen_edge::commands::classes;
use pixgen_edge::data::normalise::Normalisation;
use pixgen_edge::model_file::{self, Content, FORMAT, ModelFile};
use pixgen_edge::param_set::ParamSet;
use pixgen_edge::quantise::{QuantiseOptions, export};
use std::ops::Range;
use std::process::Command;

/// The most workspace that a forged model gets here, bytes.
const MOST: usize = 1 << 24;

/// Values that arithmetic goes wrong with.
const EXTREMES: [i32; 12] = [
    i32::MIN,
    i32::MIN + 1,
    -65_536,
    -1,
    0,
    1,
    31,
    32,
    255,
    65_535,
    i32::MAX - 1,
    i32::MAX,
];

const fn tower(depth: usize, width: usize) -> Tower {
    Tower { depth, width, heads: 2 }
}

/// Two classes, a bridge, three channels; two blocks.
fn model() -> ModelConfig {
    ModelConfig { size: 8, channels: 3, patch: 4, classes: 2, encoder: tower(2, 8), decoder: tower(2, 12) }
}

/// A file as the exporter writes it.
fn exported(steps: usize) -> Vec<u8> {
    let model = model();
    let set = ParamSet::generator(&model);
    let mut params = set.initialise(1);
    // What starts at zero does something too.
    for (value, noise) in params.iter_mut().zip(Rng::new(1, 255).gaussians_q16(0)) {
        *value += 0.2 * noise as f32 / 65_536.0;
    }
    let header = model_file::ModelHeader {
        format: FORMAT,
        content: Content::Generator,
        model,
        noise: NoiseConfig::with_shift(1.0),
        parametrisation: Parametrisation::Edm,
        normalisation: Normalisation::simple(),
        projector: None,
        ema: "raw".into(),
        images: 0,
        seed: 1,
        data: "none".into(),
        class_names: vec!["a".into(), "b".into()],
    };
    let file = ModelFile { header, set, params, statistics: None };
    let options = QuantiseOptions { steps, pictures: 2, name: "tiny".into(), ..QuantiseOptions::default() };
    export(&file, None, &options).expect("exports").bytes
}

/// Makes the checksum right again.
fn reseal(file: &mut [u8]) {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file[..PREFIX_LEN - 4]);
    crc.update(&file[PREFIX_LEN..]);
    file[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A file of any header and body.
fn sealed(header: &Header<'_>, body: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 256 + header.name.len() + header.class_names.len() + body.len()];
    let len = encode(header, body, &mut file).expect("fits");
    file.truncate(len);
    file
}

/// A file of another header, with numbers as long as they like.
fn with_header(file: &[u8], header: &[u8]) -> Vec<u8> {
    let old_start = u32::from_le_bytes([file[12], file[13], file[14], file[15]]) as usize;
    let start = (PREFIX_LEN + header.len()).next_multiple_of(16);
    let mut forged = [&file[..PREFIX_LEN], header].concat();
    forged.resize(start, 0);
    forged.extend_from_slice(&file[old_start..]);
    forged[10..12].copy_from_slice(&(header.len() as u16).to_le_bytes());
    forged[12..16].copy_from_slice(&(start as u32).to_le_bytes());
    reseal(&mut forged);
    forged
}

/// Header bytes and body of a good file.
fn pieces(file: &[u8]) -> (&[u8], &[u8]) {
    let len = usize::from(u16::from_le_bytes([file[10], file[11]]));
    let start = u32::from_le_bytes([file[12], file[13], file[14], file[15]]) as usize;
    (&file[PREFIX_LEN..PREFIX_LEN + len], &file[start..])
}

/// Reads a file and uses all of it: what it says of itself, a picture of each class, the self-test. Whatever can be read can be drawn.
fn outcome(bytes: &[u8]) -> Result<(), PxgError> {
    let file = AlignedBytes::copy(bytes);
    let model = Model::read(file.bytes())?;
    let len = model.workspace_len();
    if len > MOST {
        return Ok(());
    }
    let mut workspace = AlignedBytes::zeroed(len);
    for class in 0..model.config().classes.min(2) {
        assert!(model.class_name(class).is_none_or(|name| name.len() <= bytes.len()));
        let mut rows = 0;
        let request = DrawRequest { class, seed: u64::MAX, number: u64::MAX };
        let usage = model
            .draw(&request, workspace.bytes_mut(), &mut |band| rows += band.rows().count())
            .expect("draws");
        assert_eq!((usage.workspace, rows), (len, model.config().size));
    }
    match model.self_test(workspace.bytes_mut()) {
        Ok(_) | Err(SelfTestError::Missing | SelfTestError::Picture { .. } | SelfTestError::Draw(DrawError::Class { .. })) => Ok(()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_file_itself_is_good() {
    for steps in [1, 2] {
        let bytes = exported(steps);
        let file = AlignedBytes::copy(&bytes);
        let model = Model::read(file.bytes()).expect("reads");
        assert_eq!(model.self_test(AlignedBytes::zeroed(model.workspace_len()).bytes_mut()), Ok(2));
        let mut resealed = bytes.clone();
        reseal(&mut resealed);
        assert_eq!(resealed, bytes);
        let (header, body) = pieces(&bytes);
        assert_eq!(with_header(&bytes, header), bytes);
        assert_eq!(sealed(model.header(), body), bytes);
    }
}

// --- Damage -------------------------------------------------------------------------------------------------------------------------

#[test]
fn every_length() {
    let bytes = exported(1);
    for len in 0..bytes.len() {
        assert!(matches!(outcome(&bytes[..len]), Err(PxgError::Length { .. })), "{len} bytes");
    }
}

/// A flash partition holds the file and whatever lay there before: the model is the same, and its length stands in the first bytes.
#[test]
fn a_partition_read_whole() {
    let bytes = exported(2);
    let file = AlignedBytes::copy(&bytes);
    let alone = Model::read(file.bytes()).expect("reads");
    for (behind, count) in [(0xff, 1), (0x00, 1), (0xff, 15), (0xff, 4096), (b'P', 100_000)] {
        let partition = AlignedBytes::copy(&[&bytes[..], &vec![behind; count]].concat());
        assert_eq!(file_len(&partition.bytes()[..PREFIX_LEN]), Ok(bytes.len()));
        for model in [Model::read(partition.bytes()), Model::read_trusted(partition.bytes())] {
            let model = model.expect("reads");
            assert_eq!((model.file_len(), model.header()), (bytes.len(), alone.header()));
            assert_eq!(model.self_test(AlignedBytes::zeroed(model.workspace_len()).bytes_mut()), Ok(2), "{count} x {behind}");
        }
        // Damage inside is still found, also in the last byte before the padding.
        let mut damaged = AlignedBytes::copy(partition.bytes());
        damaged.bytes_mut()[bytes.len() - 1] ^= 1;
        assert!(matches!(Model::read(damaged.bytes()), Err(PxgError::Checksum { .. })));
    }
    // Two files one behind the other: the second follows from the length of the first.
    let (other, gap) = (exported(1), bytes.len().next_multiple_of(16));
    let mut both = bytes.clone();
    both.resize(gap, 0xff);
    both.extend_from_slice(&other);
    let both = AlignedBytes::copy(&both);
    assert_eq!(Model::read(&both.bytes()[gap..]).expect("reads").file_len(), other.len());
}

/// Every prefix: a length that the file can have, or an error of its kind.
#[test]
fn length_of_a_prefix() {
    let bytes = exported(1);
    for len in 0..PREFIX_LEN {
        assert_eq!(file_len(&bytes[..len]), Err(PxgError::Length { need: PREFIX_LEN as u64, have: len }));
    }
    assert_eq!(file_len(&[0xff; 64]), Err(PxgError::Magic), "erased flash");
    let with = |at: usize, value: &[u8]| {
        let mut prefix = bytes[..PREFIX_LEN].to_vec();
        prefix[at..at + value.len()].copy_from_slice(value);
        file_len(&prefix)
    };
    assert_eq!(with(8, &[2, 0]), Err(PxgError::Version { found: 2 }));
    assert!(matches!(with(10, &[0xff, 0xff]), Err(PxgError::Length { .. })), "a header longer than the body's place");
    assert!(matches!(with(12, &[0xff; 4]), Err(PxgError::Length { .. })), "a body far away");
    let start = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    assert!(matches!(with(12, &(start + 16).to_le_bytes()), Err(PxgError::Length { .. })), "a gap before the body");
    // A length that this machine could hold is told; the file is then too short for it.
    let endless = with(16, &[0xff; 4]);
    assert!(endless.is_err() || endless == Ok(start as usize + u32::MAX as usize));
    let mut forged = bytes.clone();
    forged[16..20].copy_from_slice(&[0xff; 4]);
    assert_eq!(outcome(&forged), Err(PxgError::Length { need: u64::from(start) + u64::from(u32::MAX), have: bytes.len() }));
}

/// Names are one a line, so a name with a line end would move all behind it to other classes.
#[test]
fn as_many_names_as_classes() {
    let bytes = exported(1);
    let file = AlignedBytes::copy(&bytes);
    let good = *Model::read(file.bytes()).expect("reads").header();
    for (class_names, names) in [("a", 1), ("a\nb\nc", 3), ("a\n\nb", 3), ("a\nb\n", 3), ("\n\n", 3)] {
        let forged = sealed(&Header { class_names, ..good }, pieces(&bytes).1);
        assert_eq!(outcome(&forged), Err(PxgError::ClassNames { names, classes: 2 }), "{class_names:?}");
    }
    // A class without a line, or with an empty one, has no name, and is called by its number.
    for (class_names, names, shown) in [
        ("", [None, None], ["0", "1"]),
        ("\n", [None, None], ["0", "1"]),
        ("a\n", [Some("a"), None], ["a", "1"]),
        ("\nb", [None, Some("b")], ["0", "b"]),
        (" a \n\tb", [Some(" a "), Some("\tb")], [" a ", "\tb"]),
    ] {
        let forged = sealed(&Header { class_names, ..good }, pieces(&bytes).1);
        assert_eq!(outcome(&forged), Ok(()), "{class_names:?}");
        let forged = AlignedBytes::copy(&forged);
        let model = Model::read(forged.bytes()).expect("reads");
        assert_eq!(model.class_names().collect::<Vec<_>>(), names, "{class_names:?}");
        assert_eq!([0, 1, 2].map(|class| model.class_name(class)), [names[0], names[1], None], "{class_names:?}");
        assert_eq!(classes::of_model(&model), shown, "{class_names:?}");
    }
}

#[test]
fn every_byte() {
    let mut bytes = exported(1);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            let wanted = |error: &PxgError| match at {
                0..8 => matches!(error, PxgError::Magic),
                8..10 => matches!(error, PxgError::Version { .. }),
                10..20 => matches!(error, PxgError::Length { .. } | PxgError::Checksum { .. }),
                _ => matches!(error, PxgError::Checksum { .. }),
            };
            let error = outcome(&bytes).expect_err("damage");
            assert!(wanted(&error), "byte {at}: {error}");
            bytes[at] ^= flip;
        }
    }
}

#[test]
fn alignment_workspace_and_class() {
    let bytes = exported(2);
    let mut shifted = AlignedBytes::zeroed(bytes.len() + 16);
    for start in 1..16 {
        shifted.bytes_mut()[start..][..bytes.len()].copy_from_slice(&bytes);
        let read = Model::read(&shifted.bytes()[start..][..bytes.len()]);
        assert!(matches!(read, Err(PxgError::Misaligned)), "{start}");
    }
    let file = AlignedBytes::copy(&bytes);
    let model = Model::read(file.bytes()).expect("reads");
    let need = model.workspace_len();
    let mut memory = AlignedBytes::zeroed(need + 16);
    let mut draw = |class: usize, range: Range<usize>| {
        let request = DrawRequest { class, seed: 0, number: 0 };
        model
            .draw(&request, &mut memory.bytes_mut()[range], &mut |_| ())
            .map(|usage| usage.workspace)
    };
    assert_eq!(draw(1, 0..need), Ok(need));
    assert_eq!(draw(1, 16..16 + need), Ok(need));
    for start in 1..16 {
        assert_eq!(draw(1, start..start + need), Err(DrawError::Misaligned));
    }
    for have in [0, 1, 16, need - 16, need - 1] {
        assert_eq!(draw(1, 0..have), Err(WorkspaceError::TooSmall { need, have }.into()));
    }
    for class in [2, 3, usize::MAX] {
        assert_eq!(draw(class, 0..need), Err(DrawError::Class { class, classes: 2 }));
    }
}

// --- Intent -------------------------------------------------------------------------------------------------------------------------

#[test]
fn forged_prefix() {
    let bytes = exported(1);
    for (field, name) in [
        (8..10, "version"),
        (10..12, "header length"),
        (12..16, "body start"),
        (16..20, "body length"),
    ] {
        let old = &bytes[field.clone()];
        let near = i32::from(u16::from_le_bytes([old[0], old[1]]));
        for value in EXTREMES.into_iter().chain(near - 20..=near + 20) {
            let mut forged = bytes.clone();
            forged[field.clone()].copy_from_slice(&value.to_le_bytes()[..field.len()]);
            reseal(&mut forged);
            assert!(forged == bytes || outcome(&forged).is_err(), "{name} {value}");
        }
    }
}

/// A change of a header.
type Forge = fn(&mut Header<'_>);

#[test]
fn forged_header() {
    let bytes = exported(1);
    let file = AlignedBytes::copy(&bytes);
    let good = *Model::read(file.bytes()).expect("reads").header();
    let forgeries: [(&str, Forge); 30] = [
        ("no steps", |h| h.steps = 0),
        ("two steps", |h| h.steps = 2),
        ("three steps", |h| h.steps = 3),
        ("255 steps", |h| h.steps = 255),
        ("fewer tests", |h| h.tests -= 1),
        ("more tests", |h| h.tests += 1),
        ("65535 tests", |h| h.tests = u16::MAX),
        ("no picture", |h| h.model.size = 0),
        ("larger picture", |h| h.model.size = 12),
        ("4096 pixels", |h| h.model.size = 4096),
        ("endless picture", |h| h.model.size = usize::MAX - 3),
        ("no channel", |h| h.model.channels = 0),
        ("one channel", |h| h.model.channels = 1),
        ("two channels", |h| h.model.channels = 2),
        ("endless channels", |h| h.model.channels = usize::MAX),
        ("no patch", |h| h.model.patch = 0),
        ("patch of 3", |h| h.model.patch = 3),
        ("endless patch", |h| h.model.patch = usize::MAX),
        ("no class", |h| h.model.classes = 0),
        ("three classes", |h| h.model.classes = 3),
        ("endless classes", |h| h.model.classes = usize::MAX),
        ("no heads", |h| h.model.encoder.heads = 0),
        ("endless heads", |h| h.model.decoder.heads = usize::MAX),
        ("no width", |h| h.model.encoder.width = 0),
        ("width of 6", |h| h.model.encoder.width = 6),
        ("width of 16384", |h| h.model.decoder.width = 16_384),
        ("endless width", |h| h.model.decoder.width = usize::MAX - 3),
        ("no depth", |h| h.model.encoder.depth = 0),
        ("unequal depths", |h| h.model.decoder.depth = 1),
        ("endless depth", |h| (h.model.encoder.depth, h.model.decoder.depth) = (usize::MAX, usize::MAX)),
    ];
    for (name, forge) in forgeries {
        let mut header = good;
        forge(&mut header);
        assert_ne!(header, good, "{name}");
        let error = outcome(&sealed(&header, pieces(&bytes).1)).expect_err(name);
        assert!(matches!(error, PxgError::Header | PxgError::Config(_) | PxgError::Body { .. }), "{name}: {error}");
    }
    // The same parts with other heads or without their names: a picture, though not that of the self-test.
    let harmless: [(&str, Forge); 4] = [
        ("one head", |h| h.model.encoder.heads = 1),
        ("a head for each channel", |h| h.model.decoder.heads = 12),
        ("no names", |h| h.class_names = ""),
        ("skips no input", |h| h.skips_input = !h.skips_input),
    ];
    for (name, forge) in harmless {
        let mut header = good;
        forge(&mut header);
        assert_eq!(outcome(&sealed(&header, pieces(&bytes).1)), Ok(()), "{name}");
    }
}

/// Activations of more than 2 GiB are refused on every machine, not only where they leave its address space.
#[test]
fn workspace_beyond_31_bits() {
    let bytes = exported(1);
    let file = AlignedBytes::copy(&bytes);
    let mut header = *Model::read(file.bytes()).expect("reads").header();
    header.model = ModelConfig { size: 4096, patch: 1, ..header.model };
    let error = outcome(&sealed(&header, &[])).expect_err("too large");
    assert!(matches!(error, PxgError::Config(ConfigError::ChipSize)), "{error}");
}

/// Every byte of the header takes every value.
#[test]
fn forged_header_bytes() {
    let mut bytes = exported(1);
    let end = PREFIX_LEN + pieces(&bytes).0.len();
    let (mut refused, mut drawn) = (0, 0);
    for at in PREFIX_LEN..end {
        let old = bytes[at];
        for value in 0..=255 {
            bytes[at] = value;
            reseal(&mut bytes);
            match outcome(&bytes) {
                Ok(()) => drawn += 1,
                Err(_) => refused += 1,
            }
        }
        bytes[at] = old;
    }
    assert!(refused > 1000 && drawn > 1000, "{refused} refused, {drawn} drawn");
}

#[test]
fn forged_header_encoding() {
    let bytes = exported(1);
    let (header, _) = pieces(&bytes);
    // Numbers of too many bytes, in place of the size and alone; a header cut short; one too long.
    for len in 0..24 {
        let endless = vec![0xff; len];
        assert_eq!(outcome(&with_header(&bytes, &endless)), Err(PxgError::Header), "{len}");
        let size = [&endless[..], &[0x01], &header[1..]].concat();
        assert!(len == 0 || outcome(&with_header(&bytes, &size)).is_err(), "{len}");
    }
    for len in 0..header.len() {
        assert_eq!(outcome(&with_header(&bytes, &header[..len])), Err(PxgError::Header), "{len}");
    }
    assert_eq!(outcome(&with_header(&bytes, &[header, &[0]].concat())), Err(PxgError::Header));
    // Text that is no UTF-8.
    let name = header.windows(4).position(|text| text == b"tiny").expect("name");
    for text in [*b"\xff\xff\xff\xff", *b"tin\xc3", *b"\xed\xa0\x80x", *b"\xf8\x88\x80\x80"] {
        let mut forged = header.to_vec();
        forged[name..name + 4].copy_from_slice(&text);
        assert_eq!(outcome(&with_header(&bytes, &forged)), Err(PxgError::Header));
    }
    // Text longer than the header.
    for len in [header.len() as u8, 0x7f] {
        let mut forged = header.to_vec();
        forged[name - 1] = len;
        assert_eq!(outcome(&with_header(&bytes, &forged)), Err(PxgError::Header));
    }
}

/// Every site of a model, used or not.
fn sites(model: &ModelConfig) -> impl Iterator<Item = Site> + use<> {
    use Layer::*;
    let layers = [
        PatchEmbed, Bridge, Skip, SkipNorm, Norm1, Qkv, Attend, Proj, Norm2, Fc1, Fc2, FinalNorm, Head,
    ];
    let depth = model.encoder.depth;
    [Side::Encoder, Side::Decoder]
        .into_iter()
        .flat_map(move |side| (0..depth).flat_map(move |block| layers.map(|layer| Site::new(side, block, layer))))
}

/// The words of all sites in the body; and which of them are shifts.
fn words(layout: &Layout, model: &ModelConfig) -> Vec<(Site, Range<usize>, &'static [usize])> {
    let mut words = Vec::new();
    for site in sites(model) {
        if site.layer == Layer::Bridge && !model.has_bridge() {
            continue;
        }
        words.extend(layout.linear(site, 0).map(|part| (site, part.words, &[0][..])));
        words.extend(layout.norm(site).map(|part| (site, part.words, &[0, 2][..])));
        words.extend(layout.words(site).map(|range| (site, range, &[1][..])));
    }
    words
}

#[test]
fn forged_words() {
    for steps in [1, 2] {
        let bytes = exported(steps);
        let layout = Layout::new(&model(), steps);
        let body = bytes.len() - pieces(&bytes).1.len();
        let forge = |at: usize, value: i32| {
            let mut forged = bytes.clone();
            forged[body + at..body + at + 4].copy_from_slice(&value.to_le_bytes());
            reseal(&mut forged);
            outcome(&forged)
        };
        let words = words(&layout, &model());
        assert!(words.len() > 40);
        for (site, range, shifts) in words {
            for word in 0..4 {
                for value in EXTREMES {
                    let found = forge(range.start + 4 * word, value);
                    if shifts.contains(&word) && !(0..32).contains(&value) {
                        assert!(matches!(found, Err(PxgError::Value(_))), "{site:?} word {word} is {value}: {found:?}");
                    } else {
                        assert_eq!(found, Ok(()), "{site:?} word {word} is {value}");
                    }
                }
            }
        }
        for step in 0..steps {
            for at in layout.step(step).step_by(4) {
                for value in EXTREMES {
                    assert_eq!(forge(at, value), Ok(()), "step record, byte {at} is {value}");
                }
            }
        }
    }
}

/// Bodies of noise, and of extreme values only, under models of every shape.
#[test]
fn bodies_of_noise() {
    let mut draws = Draws::new(Rng::new(1, 255), 0);
    let mut below = |n: u32| draws.below(n) as usize;
    for round in 0..600 {
        let depth = 1 + below(2);
        let mut tower = || {
            let heads = 1 + below(3);
            Tower { depth, heads, width: heads * 4 * (1 + below(3)) }
        };
        let (encoder, decoder) = (tower(), tower());
        let patch = 1 + below(4);
        let model = ModelConfig {
            size: patch * (1 + below(4)),
            channels: [1, 3][round % 2],
            patch,
            classes: 1 + below(2),
            encoder,
            decoder,
        };
        let (steps, tests) = (1 + below(2), below(3));
        let layout = Layout::new(&model, steps);
        let mut body: Vec<u8> = match round % 3 {
            0 => (0..layout.body_len(tests)).map(|_| below(256) as u8).collect(),
            1 => (0..layout.body_len(tests)).map(|_| [0x00, 0x7f, 0x80, 0xff][below(4)]).collect(),
            _ => vec![[0x7f, 0x80, 0xff][below(3)]; layout.body_len(tests) as usize],
        };
        for (_, range, shifts) in words(&layout, &model) {
            for shift in shifts {
                let at = range.start + 4 * shift;
                body[at..at + 4].copy_from_slice(&(below(32) as u32).to_le_bytes());
            }
        }
        let header = Header {
            model,
            steps: steps as u8,
            skips_input: below(2) == 0,
            tests: tests as u16,
            name: "",
            class_names: "",
            images: u64::MAX,
            source: u32::MAX,
        };
        assert_eq!(outcome(&sealed(&header, &body)), Ok(()), "round {round}: {model:?}");
    }
}

// --- Through the program ------------------------------------------------------------------------------------------------------------

#[test]
fn the_program_says_what_is_wrong() {
    let folder = tempfile::tempdir().expect("folder");
    let good = exported(1);
    let forged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let file = AlignedBytes::copy(&good);
    let mut header = *Model::read(file.bytes()).expect("reads").header();
    header.steps = 3;
    let last = good.len() - 1;
    let wrong_picture = forged(&|bytes| {
        bytes[last] ^= 1;
        reseal(bytes);
    });
    let damaged = [
        ("empty", Vec::new(), "an empty file"),
        ("half", good[..good.len() / 2].to_vec(), "the file's prefix says"),
        ("foreign", forged(&|bytes| bytes[0] = b'X'), "not a .pxg file"),
        ("newer", forged(&|bytes| bytes[8] = 2), "format version 2"),
        ("flipped", forged(&|bytes| bytes[last] ^= 1), "checksum"),
        ("steps", sealed(&header, pieces(&good).1), "header"),
    ];
    let run = |command: &str, bytes: &[u8]| {
        let path = folder.path().join("model.pxg");
        std::fs::write(&path, bytes).expect("file");
        let mut program = Command::new(env!("CARGO_BIN_EXE_pixgen-edge"));
        program.arg(command).arg(&path).current_dir(folder.path());
        let done = program.output().expect("runs");
        (done.status.code(), String::from_utf8(done.stderr).expect("text"))
    };
    let fails = |command: &str, name: &str, bytes: &[u8], reason: &str| {
        let (code, text) = run(command, bytes);
        assert_eq!(code, Some(1), "{command} {name}: {text}");
        assert!(text.contains(reason) && text.contains("\nhint: ") && !text.contains("panicked"), "{command} {name}: {text}");
    };
    for (name, bytes, reason) in &damaged {
        for command in ["info", "selftest", "sample"] {
            fails(command, name, bytes, reason);
        }
    }
    fails("selftest", "wrong picture", &wrong_picture, "self-test 1");
    for command in ["info", "selftest", "sample"] {
        assert_eq!(run(command, &good).0, Some(0), "{command}");
    }
}

/// A pipe can be read only once, so nothing may look into it before its reader.
#[cfg(unix)]
#[test]
fn a_file_comes_through_a_pipe() {
    use std::io::Write as _;
    use std::process::Stdio;

    let bytes = exported(1);
    let mut child = Command::new(env!("CARGO_BIN_EXE_pixgen-edge"))
        .args(["info", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("written");
    let done = child.wait_with_output().expect("ends");
    assert!(done.status.success(), "{done:?}");
}

/// What the program says where the system refuses something, by a line of a shell: the code, and what stood on standard error.
#[cfg(target_os = "linux")]
fn shell(line: &str, folder: &std::path::Path) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_pixgen-edge");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).current_dir(folder).env("PROGRAM", program);
    let done = shell.output().expect("runs");
    (done.status.code(), String::from_utf8(done.stderr).expect("text"))
}

/// A file of 8 MB whose picture takes more memory than the process may have: an error, and no end by a signal.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_there_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = exported(1);
    let file = AlignedBytes::copy(&bytes);
    let tower = Tower { depth: 1, width: 4, heads: 1 };
    let model = ModelConfig { size: 1024, channels: 1, patch: 1, classes: 2, encoder: tower, decoder: tower };
    let header = Header { model, steps: 1, tests: 0, ..*Model::read(file.bytes()).expect("reads").header() };
    let body = vec![0; Layout::new(&model, 1).body_len(0) as usize];
    std::fs::write(folder.path().join("model.pxg"), sealed(&header, &body)).expect("file");
    let limited = |command: &str| shell(&format!("ulimit -v 200000; exec \"$PROGRAM\" --threads 1 {command}"), folder.path());
    assert_eq!(limited("info model.pxg >info.txt").0, Some(0));
    for command in [
        "sample model.pxg --hashes",
        "sample model.pxg -o picture.png",
        "bench model.pxg --seconds 1",
    ] {
        let (code, text) = limited(command);
        assert_eq!(code, Some(1), "{command}: {text}");
        assert!(text.contains("no memory for ") && text.contains("\nhint: "), "{command}: {text}");
    }
    // Pictures that no grid holds are refused before the first is drawn.
    let (code, text) = shell("exec \"$PROGRAM\" sample model.pxg --count 1000", folder.path());
    assert!(code == Some(1) && text.contains("a grid of 2000 pictures") && text.contains("\nhint: "), "{text}");
}

/// Text that was asked for and could not be written is an error, and a reader that has seen enough ends the work.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_takes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("model.pxg"), exported(1)).expect("file");
    for arguments in [
        "--help",
        "--version",
        "sample --help",
        "info model.pxg",
        "sample model.pxg --hashes",
        "web model.pxg -o -",
    ] {
        let (code, text) = shell(&format!("exec \"$PROGRAM\" {arguments} >/dev/full"), folder.path());
        assert!(code == Some(1) && text.contains("\nhint: "), "{arguments}: {code:?} {text}");
    }
    let (code, text) = shell("exec \"$PROGRAM\" web model.pxg -o - | head -c 1 >/dev/null", folder.path());
    assert_eq!((code, &*text), (Some(0), ""), "nobody has the page");
}
