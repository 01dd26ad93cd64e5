//! A model whose weights were packed for a kernel of this host.

use super::draw::{DrawRequest, Drawing, Usage};
use super::engine::Engine;
use super::error::DrawError;
use super::host::{HostEngine, Packed, ScratchLen};
use super::interpreter::{BandOutput, Integer};
use crate::kernels::host::HostKernel;
use crate::pixels::Band;
use crate::pxg::Model;

/// A model with its weights packed for a kernel of this host: draws the bytes of [`Model::draw`], several times as fast.
///
/// Memory is the caller's. The panels take about as many bytes as the file and are only read once packed: any number of threads share
/// them, each with a workspace and a scratch of its own.
#[derive(Clone, Copy, Debug)]
pub struct Prepared<'a> {
    model: &'a Model<'a>,
    packed: Packed<'a>,
}

impl<'a> Prepared<'a> {
    /// Bytes of memory for [`new`](Self::new).
    pub fn panels_len(model: &Model<'_>) -> usize {
        Packed::len(model)
    }

    /// Bytes of scratch for a picture, besides its workspace.
    pub fn scratch_len(model: &Model<'_>) -> usize {
        ScratchLen::new(model.config()).bytes()
    }

    /// Packs the weights of a model into `memory`.
    ///
    /// # Errors
    /// Less memory than [`panels_len`](Self::panels_len).
    pub fn new(kernel: HostKernel, model: &'a Model<'a>, memory: &'a mut [u8]) -> Result<Self, DrawError> {
        Ok(Self { model, packed: Packed::new(kernel, model, memory)? })
    }

    /// From memory that [`new`](Self::new) has packed, with the same kernel, for a copy of the same model at the same place. Other content draws other
    /// pictures, and no more than that.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn packed(kernel: HostKernel, model: &'a Model<'a>, memory: &'a [u8]) -> Result<Self, DrawError> {
        Ok(Self { model, packed: Packed::at(kernel, model, memory)? })
    }

    /// [`Model::draw`], with [`scratch_len`](Self::scratch_len) bytes of scratch, whose content does not matter.
    ///
    /// # Errors
    /// As [`Model::draw`], and too short a scratch.
    pub fn draw(
        &self,
        request: &DrawRequest,
        workspace: &mut [u8],
        scratch: &mut [u8],
        each: &mut dyn FnMut(&Band<'_>),
    ) -> Result<Usage, DrawError> {
        let mut drawing = Drawing::new(*request);
        loop {
            let engine = Engine::Host(HostEngine::new(&self.packed, self.model.config(), scratch)?);
            if let Some(usage) = drawing.advance(self.model, workspace, each, usize::MAX, engine)? {
                return Ok(usage);
            }
        }
    }

    /// [`Integer::new`], with the scratch of [`draw`](Self::draw).
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn interpreter<'m, 'o>(
        &'m self,
        class: usize,
        step: usize,
        workspace: &'m mut [u8],
        scratch: &'m mut [u8],
        output: Option<BandOutput<'o>>,
    ) -> Result<Integer<'m, 'o>, DrawError> {
        let mut integer = Integer::new(self.model, class, step, workspace, output)?;
        integer.engine = Engine::Host(HostEngine::new(&self.packed, self.model.config(), scratch)?);
        Ok(integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integer::{DrawError, PictureHash};
    use crate::{Aligned, align, include_pxg};
    use std::vec;

    /// With every kernel, and wherever panels and scratch begin; and where they are too short, the error says what they need.
    #[test]
    fn memory_may_lie_anywhere_but_must_suffice() {
        let model = Model::read(include_pxg!("../../examples/nano-28-grey.pxg")).expect("a model");
        let mut workspace = Aligned([0; 16 * 1024]);
        let request = DrawRequest { class: 3, seed: 9, number: 1 };
        let wanted = model.picture_hash(&request, &mut workspace.0);
        let (panels_len, scratch_len) = (Prepared::panels_len(&model), Prepared::scratch_len(&model));
        let (mut panels, mut scratch) = (vec![0xaa; panels_len + 80], vec![0xaa; scratch_len + 80]);
        let (panels, scratch) = (align(&mut panels), align(&mut scratch));
        for kernel in HostKernel::detected() {
            for start in [0, 1, 7, 16, 33] {
                let prepared = Prepared::new(kernel, &model, &mut panels[start..][..panels_len]).expect("suffices");
                let mut hash = PictureHash::new();
                let mut draw = |len: usize| {
                    let scratch = &mut scratch[start..][..len];
                    prepared.draw(&request, &mut workspace.0, scratch, &mut |band| hash.update(band.bytes()))
                };
                draw(scratch_len).expect("suffices");
                assert_eq!(draw(100), Err(DrawError::Scratch { need: scratch_len, have: 100 }));
                assert_eq!(Ok(hash.value()), wanted, "{} from byte {start} on", kernel.name());
            }
            let short = DrawError::Panels { need: panels_len, have: 100 };
            assert_eq!(Prepared::new(kernel, &model, &mut panels[..100]).map(drop), Err(short));
        }
    }
}
