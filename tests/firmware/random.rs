//! A `.pxg` file of random weights: any architecture, no training. Its pictures mean nothing, but every byte of the file is used, so
//! hosts and chips can be compared on it.

use pixgen_core::config::ModelConfig;
use pixgen_core::integer::DrawRequest;
use pixgen_core::params::{Layer, Side, Site};
use pixgen_core::pxg::layout::{Layout, STEP_WORDS};
use pixgen_core::pxg::{Header, Model, encode};
use pixgen_core::rng::{Draws, Rng};
use pixgen_core::streams::{Purpose, stream};
use pixgen_edge::aligned::AlignedBytes;
use std::ops::Range;

/// Layers of a block that have something in the file.
const IN_BLOCK: [Layer; 9] = [
    Layer::Skip,
    Layer::SkipNorm,
    Layer::Norm1,
    Layer::Qkv,
    Layer::Attend,
    Layer::Proj,
    Layer::Norm2,
    Layer::Fc1,
    Layer::Fc2,
];
/// Self-test vectors of the file.
const TESTS: u16 = 2;

/// A model drawn in `steps` steps, with self-test vectors of this host's pictures. Panics when the configuration is not one for a chip.
pub fn random_model(config: &ModelConfig, steps: usize, seed: u64) -> AlignedBytes {
    let layout = Layout::new(config, steps);
    let body_len = usize::try_from(layout.body_len(usize::from(TESTS))).expect("small");
    let mut body = Body { bytes: vec![0; body_len], draws: Draws::new(Rng::new(seed, stream(Purpose::Test, 0)), 0) };
    body.fill(&layout, config, steps);
    let header = Header {
        model: *config,
        steps: u8::try_from(steps).expect("few steps"),
        skips_input: steps > 1,
        tests: TESTS,
        name: "random",
        class_names: "",
        images: 0,
        source: 0,
    };
    let pack = |body: &[u8]| {
        let mut file = AlignedBytes::zeroed(body.len() + 256);
        let len = encode(&header, body, file.bytes_mut()).expect("room for the header");
        file.truncate(len);
        file
    };

    let draft = pack(&body.bytes);
    let model = Model::read(draft.bytes()).expect("a valid file");
    let mut workspace = AlignedBytes::zeroed(model.workspace_len());
    for number in 0..usize::from(TESTS) {
        let request = DrawRequest { class: number % config.classes, seed: seed + number as u64, number: 0 };
        let hash = model.picture_hash(&request, workspace.bytes_mut()).expect("a picture");
        let vector = [request.seed, request.class as u64, hash];
        body.put(layout.test(number), &vector.map(u64::to_le_bytes).concat());
    }
    pack(&body.bytes)
}

struct Body {
    bytes: Vec<u8>,
    draws: Draws,
}

impl Body {
    /// Weights are any bytes; scales are such that values spread over their type and saturate now and then.
    fn fill(&mut self, layout: &Layout, config: &ModelConfig, steps: usize) {
        for byte in 0..self.bytes.len() {
            self.bytes[byte] = self.draws.u32() as u8;
        }
        self.i16s(layout.position(), -4000..4000);
        for step in 0..steps {
            let mut record = [0; STEP_WORDS];
            record[0] = 40 << 16; // noise
            record[1..4].fill(3 << 20); // picture so far
            record[7..10].fill(100 << 6); // noise in the output
            record[10] = 50 << 6; // picture in the output
            self.words(layout.step(step), record);
            self.i16s(layout.time(step), -4000..4000);
        }
        for class in 0..config.classes {
            self.i16s(layout.class(class), -4000..4000);
        }
        for (side, tower) in [(Side::Encoder, config.encoder), (Side::Decoder, config.decoder)] {
            for (block, layer) in (0..tower.depth).flat_map(|block| IN_BLOCK.map(|layer| (block, layer))) {
                self.site(layout, Site::new(side, block, layer), 0);
            }
            self.site(layout, Site::new(side, 0, Layer::FinalNorm), 0);
        }
        self.site(layout, Site::new(Side::Encoder, 0, Layer::PatchEmbed), 0);
        if config.has_bridge() {
            self.site(layout, Site::new(Side::Decoder, 0, Layer::Bridge), 0);
        }
        (0..steps).for_each(|step| self.site(layout, Site::new(Side::Decoder, 0, Layer::Head), step));
        for index in 0..steps * config.classes * config.decoder.depth * 2 {
            let (branch, rest) = (index % 2, index / 2);
            let (block, rest) = (rest % config.decoder.depth, rest / config.decoder.depth);
            let part = layout.modulation(rest / config.classes, rest % config.classes, block, branch);
            self.i16s(part.gain, -12_000..12_000);
            self.i32s(part.offset, -4_000_000..4_000_000);
            self.i16s(part.gate, -20_000..20_000);
        }
    }

    /// Whatever the file has for a site. Shifts are the same everywhere.
    fn site(&mut self, layout: &Layout, site: Site, step: usize) {
        if let Some(part) = layout.linear(site, step) {
            self.words(part.words, [8, 0, 0, 0]);
            let to_stream = !matches!(site.layer, Layer::Qkv | Layer::Fc1);
            let scale = if to_stream { 1_000_000 } else { 16_000 };
            self.i32s(part.multiplier, scale / 2..scale);
            // The head's lift levels to the middle grey: 128, with six fractional bits.
            let bias = if site.layer == Layer::Head {
                100_000..200_000
            } else {
                -20_000..20_000
            };
            self.i32s(part.bias, bias);
        }
        if let Some(part) = layout.norm(site) {
            self.words(part.words, [19, 1, 15, 0]);
            self.i16s(part.gain, -12_000..12_000);
            self.i32s(part.offset, -4_000_000..4_000_000);
        }
        if let Some(words) = layout.words(site) {
            self.words(
                words,
                if site.layer == Layer::Attend {
                    [100_000, 10, 1 << 28, 0]
                } else {
                    [20_000, 21, 7 << 20, 0]
                },
            );
        }
    }

    fn words<const N: usize>(&mut self, place: Range<usize>, words: [i32; N]) {
        self.put(place, &words.map(i32::to_le_bytes).concat());
    }

    fn put(&mut self, place: Range<usize>, bytes: &[u8]) {
        self.bytes[place].copy_from_slice(bytes);
    }

    fn i16s(&mut self, place: Range<usize>, values: Range<i16>) {
        for at in place.step_by(2) {
            let value = i32::from(values.start) + self.draws.below((i32::from(values.end) - i32::from(values.start)) as u32) as i32;
            self.bytes[at..at + 2].copy_from_slice(&(value as i16).to_le_bytes());
        }
    }

    fn i32s(&mut self, place: Range<usize>, values: Range<i32>) {
        for at in place.step_by(4) {
            let value = values.start + self.draws.below((values.end - values.start) as u32) as i32;
            self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
}
