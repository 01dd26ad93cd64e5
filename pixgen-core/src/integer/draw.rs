//! A picture from a model file: one call, band by band.

use super::DrawError;
use super::input::NoiseSeed;
use super::interpreter::{BandOutput, Integer};
use crate::network;
use crate::params::Site;
use crate::pixels::Band;
use crate::profile::{Clock, Profile};
use crate::pxg::Model;

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

impl Model<'_> {
    /// Draws a picture and gives it to `each` in bands of [`patch`](crate::config::ModelConfig::patch) rows, from the top.
    ///
    /// `workspace` holds [`workspace_len`](Self::workspace_len) bytes and begins at a multiple of [`ALIGN`](crate::ALIGN); its content does
    /// not matter.
    ///
    /// # Errors
    /// No such class, or a workspace that is too small or not aligned.
    pub fn draw(&self, request: &DrawRequest, workspace: &mut [u8], each: &mut dyn FnMut(&Band<'_>)) -> Result<Usage, DrawError> {
        let input = request.input();
        self.steps_of(request, workspace, each, |mut integer| {
            network::forward(&mut integer, self.config(), &input, &())?;
            Ok(integer.high_water_mark())
        })
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
        let input = request.input();
        self.steps_of(request, workspace, &mut |_| (), |integer| {
            let mut profile = Profile::new(integer, clock, each);
            network::forward(&mut profile, self.config(), &input, &())?;
            Ok(profile.into_inner().high_water_mark())
        })
    }

    /// Hands an interpreter for each step to `run`, which returns its high-water mark; bands of the last step go to `each`.
    fn steps_of(
        &self,
        request: &DrawRequest,
        workspace: &mut [u8],
        each: &mut dyn FnMut(&Band<'_>),
        mut run: impl FnMut(Integer<'_, '_>) -> Result<usize, DrawError>,
    ) -> Result<Usage, DrawError> {
        let mut mark = 0;
        // Between two steps the picture lies at the low end of the workspace.
        for step in 0..self.steps() {
            let last = step + 1 == self.steps();
            let mut show = |band: &Band<'_>| each(band);
            let output: Option<BandOutput<'_>> = if last { Some(&mut show) } else { None };
            mark = mark.max(run(Integer::new(self, request.class, step, workspace, output)?)?);
        }
        Ok(Usage { workspace: mark })
    }
}
