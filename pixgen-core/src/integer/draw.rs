//! A picture from a model file: one call, band by band.

use super::DrawError;
use super::engine::Engine;
use super::input::NoiseSeed;
use super::interpreter::{BandOutput, Integer};
use super::pace::{Pace, SLICE_WORK};
use crate::aligned::ALIGN;
use crate::network;
use crate::params::Site;
use crate::pixels::Band;
use crate::profile::{Clock, Profile};
use crate::pxg::Model;
use crate::rng::Blend;
use crate::workspace::WorkspaceError;

/// Which picture to draw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DrawRequest {
    /// Class, from 0.
    pub class: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the picture among those of the seed: picture `number` of `pixgen-train sample --seed` starts from the same noise.
    pub number: u64,
}

impl DrawRequest {
    const fn input(&self) -> NoiseSeed {
        NoiseSeed { seed: self.seed, number: self.number }
    }
}

/// What a picture cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Usage {
    /// High-water mark of the workspace, bytes.
    pub workspace: usize,
}

/// A picture that is drawn slice by slice, so that something else can be done in between: feed a watchdog, serve a radio, let other
/// tasks run.
///
/// ```
/// # use pixgen_core::integer::{DrawRequest, Drawing};
/// # use pixgen_core::{Aligned, include_pxg, pxg::Model};
/// # let (model, mut memory) = (Model::read(include_pxg!("../../examples/nano-28-grey.pxg"))?, Aligned([0; 16 * 1024]));
/// # let (workspace, show) = (&mut memory.0, &mut |_: &pixgen_core::pixels::Band<'_>| ());
/// let mut drawing = Drawing::new(DrawRequest { class: 9, seed: 7, number: 0 });
/// while drawing.step(&model, workspace, show)?.is_none() {
///     // between two slices
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A slice takes [`SLICE_WORK`] multiply-accumulates or what takes as long, and more only where six rows of one layer take more;
/// `pixgen-edge plan` says how many slices a picture has and how long they take. The bytes are those of [`Model::draw`], which is the
/// same with one slice for each step of the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawing {
    request: DrawRequest,
    towards: Option<(NoiseSeed, Blend)>,
    /// Step of the sampler.
    step: usize,
    /// Pieces of it that are done.
    done: usize,
    mark: usize,
}

impl Drawing {
    /// Nothing is drawn yet.
    pub const fn new(request: DrawRequest) -> Self {
        Self { request, towards: None, step: 0, done: 0, mark: 0 }
    }

    /// Starts from a noise on the way from the request's to that of another picture, `share` of it in units of 1/65,536
    /// ([`Blend`]): pictures of small steps are the frames of a walk. To be called before the first slice.
    pub const fn towards(self, to: NoiseSeed, share: u32) -> Self {
        Self { towards: Some((to, Blend::new(share))), ..self }
    }

    /// Goes on from a [`position`](Self::position), for callers that keep the state between two slices in a form of their own.
    pub const fn resume(self, [step, done]: [u32; 2]) -> Self {
        Self { step: step as usize, done: done as usize, ..self }
    }

    /// What is done: steps of the sampler, and pieces of the next one.
    pub const fn position(&self) -> [u32; 2] {
        [self.step as u32, self.done as u32]
    }

    /// Draws the next slice. Bands that it finishes go to `each`. Returns the cost of the picture when it is complete, else `None`.
    ///
    /// `model` and `workspace` are the same in every call, and nothing writes to the workspace in between: it holds the half-finished
    /// picture. It is as long as [`Model::draw`] asks for.
    ///
    /// # Errors
    /// As [`Model::draw`]; the first call finds them.
    pub fn step(&mut self, model: &Model<'_>, workspace: &mut [u8], each: &mut dyn FnMut(&Band<'_>)) -> Result<Option<Usage>, DrawError> {
        self.advance(model, workspace, each, SLICE_WORK, Engine::new())
    }

    /// A slice of `limit`.
    pub(super) fn advance(
        &mut self,
        model: &Model<'_>,
        workspace: &mut [u8],
        each: &mut dyn FnMut(&Band<'_>),
        limit: usize,
        engine: Engine<'_>,
    ) -> Result<Option<Usage>, DrawError> {
        if self.step < model.steps() {
            let mut show = |band: &Band<'_>| each(band);
            // Between two steps the picture lies at the low end of the workspace.
            let last = self.step + 1 == model.steps();
            let output: Option<BandOutput<'_>> = if last { Some(&mut show) } else { None };
            let mut integer = Integer::new(model, self.request.class, self.step, workspace, output)?;
            integer.slice(Pace::new(limit, self.done), self.towards);
            integer.engine = engine;
            let walked = network::forward(&mut integer, model.config(), &self.request.input(), &());
            self.mark = self.mark.max(integer.high_water_mark());
            match integer.rest() {
                // It left the network, or came to its end, with work that is not done.
                Some(done) => self.done = done,
                None => {
                    walked?;
                    (self.step, self.done) = (self.step + 1, 0);
                }
            }
        }
        let complete = self.step >= model.steps();
        Ok(complete.then_some(Usage { workspace: self.mark }))
    }
}

impl Model<'_> {
    /// Whether a picture of class `class` can be drawn in `workspace`.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn check_request(&self, class: usize, workspace: &[u8]) -> Result<(), DrawError> {
        let (classes, need, have) = (self.config().classes, self.workspace_len(), workspace.len());
        if class >= classes {
            return Err(DrawError::Class { class, classes });
        }
        if have < need {
            return Err(WorkspaceError::TooSmall { need, have }.into());
        }
        if !workspace.as_ptr().addr().is_multiple_of(ALIGN) {
            return Err(DrawError::Misaligned);
        }
        Ok(())
    }

    /// Draws a picture and gives it to `each` in bands of [`patch`](crate::config::ModelConfig::patch) rows, from the top.
    ///
    /// `workspace` holds [`workspace_len`](Self::workspace_len) bytes and begins at a multiple of [`ALIGN`](crate::ALIGN); its content does
    /// not matter. [`Drawing`] does the same in slices.
    ///
    /// # Errors
    /// No such class, or a workspace that is too small or not aligned.
    pub fn draw(&self, request: &DrawRequest, workspace: &mut [u8], each: &mut dyn FnMut(&Band<'_>)) -> Result<Usage, DrawError> {
        let mut drawing = Drawing::new(*request);
        loop {
            if let Some(usage) = drawing.advance(self, workspace, each, usize::MAX, Engine::new())? {
                return Ok(usage);
            }
        }
    }

    /// Draws a picture, discards it, and reports the site and the ticks of every operation to `each` ([`Profile`]).
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn profile<C: Clock>(
        &self,
        request: &DrawRequest,
        workspace: &mut [u8],
        clock: &mut C,
        each: &mut dyn FnMut(Site, u64),
    ) -> Result<Usage, DrawError> {
        let (input, mut mark) = (request.input(), 0);
        for step in 0..self.steps() {
            let mut discard = |_: &Band<'_>| ();
            let last = step + 1 == self.steps();
            let output: Option<BandOutput<'_>> = if last { Some(&mut discard) } else { None };
            let integer = Integer::new(self, request.class, step, workspace, output)?;
            let mut profile = Profile::new(integer, clock, each);
            network::forward(&mut profile, self.config(), &input, &())?;
            mark = mark.max(profile.into_inner().high_water_mark());
        }
        Ok(Usage { workspace: mark })
    }
}
