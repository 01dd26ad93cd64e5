//! The integer engine as WebAssembly: no imports, no allocator, one model for each instance.
//!
//! A page asks for room with [`reserve`], writes the bytes of a `.pxg` file there and calls [`open`]; then [`draw`] returns the address of a
//! picture. No function takes an address, so none can be given a wrong one. `pixgen-edge/src/web/engine.js` is the caller.
#![no_std]

mod memory;

use core::cell::{Cell, OnceCell};
use memory::Single;
use pixgen_core::integer::{DrawError, DrawRequest};
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{ClassNames, Model, PxgError};

#[cfg(target_feature = "simd128")]
use pixgen_core::{
    integer::Prepared,
    kernels::host::{HostKernel, simd128::Simd128},
};

#[link(wasm_import_module = "no-panic")]
unsafe extern "C" {
    safe fn panics() -> !;
}

/// Nothing here panics. If something did, this import would stay in the module, and no caller could start it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    panics()
}

/// What [`open`] answers.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The model can draw.
    Done = 0,
    /// No file of ours.
    NoModel = 1,
    /// A file of another version.
    Version = 2,
    /// The file is damaged.
    Damaged = 3,
    /// There is not enough memory.
    Memory = 4,
    /// Nothing was reserved, or a model is open.
    Order = 5,
}

/// A model with all memory that drawing takes.
struct Engine {
    #[cfg(not(target_feature = "simd128"))]
    model: &'static Model<'static>,
    workspace: &'static mut [u8],
    picture: &'static mut [u8],
    #[cfg(target_feature = "simd128")]
    prepared: Prepared<'static>,
    #[cfg(target_feature = "simd128")]
    scratch: &'static mut [u8],
}

static FILE: Single<Cell<Option<&'static mut [u8]>>> = Single(Cell::new(None));
static MODEL: Single<OnceCell<Model<'static>>> = Single(OnceCell::new());
/// The class whose name was asked for last, and the names from there on.
static NAMES: Single<Cell<Option<(usize, ClassNames<'static>)>>> = Single(Cell::new(None));
static ENGINE: Single<Cell<Option<Engine>>> = Single(Cell::new(None));

impl Engine {
    /// `None` where memory ends.
    fn new(model: &'static Model<'static>) -> Option<Self> {
        Some(Self {
            #[cfg(not(target_feature = "simd128"))]
            model,
            workspace: memory::take(model.workspace_len())?,
            picture: memory::take(model.config().image_len())?,
            #[cfg(target_feature = "simd128")]
            prepared: {
                let panels = memory::take(Prepared::panels_len(model))?;
                Prepared::new(HostKernel::Simd128(Simd128::built_in()), model, panels).ok()?
            },
            #[cfg(target_feature = "simd128")]
            scratch: memory::take(Prepared::scratch_len(model))?,
        })
    }

    fn draw(&mut self, request: &DrawRequest) -> Result<&[u8], DrawError> {
        let mut rest = self.picture.iter_mut();
        let each = &mut |band: &Band<'_>| rest.by_ref().zip(band.bytes()).for_each(|(to, &byte)| *to = byte);
        #[cfg(target_feature = "simd128")]
        self.prepared.draw(request, self.workspace, self.scratch, each)?;
        #[cfg(not(target_feature = "simd128"))]
        self.model.draw(request, self.workspace, each)?;
        Ok(self.picture)
    }
}

/// Room for a file of `len` bytes; null where there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(len: usize) -> *mut u8 {
    let Some(file) = memory::take(len) else {
        return core::ptr::null_mut();
    };
    let start = file.as_mut_ptr();
    FILE.0.set(Some(file));
    start
}

/// Opens the model whose file was written to what [`reserve`] gave.
#[unsafe(no_mangle)]
pub extern "C" fn open() -> Opened {
    if MODEL.0.get().is_some() {
        return Opened::Order;
    }
    let Some(file) = FILE.0.take() else { return Opened::Order };
    let opened = match Model::read(file) {
        Ok(model) => MODEL.0.set(model),
        Err(PxgError::Magic) => return Opened::NoModel,
        Err(PxgError::Version { .. }) => return Opened::Version,
        Err(_) => return Opened::Damaged,
    };
    let Some(model) = MODEL.0.get().filter(|_| opened.is_ok()) else {
        return Opened::Order;
    };
    let Some(engine) = Engine::new(model) else { return Opened::Memory };
    ENGINE.0.set(Some(engine));
    Opened::Done
}

/// Pixels in a row, and rows.
#[unsafe(no_mangle)]
pub extern "C" fn size() -> usize {
    MODEL.0.get().map_or(0, |model| model.config().size)
}

/// Bytes of a pixel: 1 or 3.
#[unsafe(no_mangle)]
pub extern "C" fn channels() -> usize {
    MODEL.0.get().map_or(0, |model| model.config().channels)
}

/// Classes.
#[unsafe(no_mangle)]
pub extern "C" fn classes() -> usize {
    MODEL.0.get().map_or(0, |model| model.config().classes)
}

/// The name of a class in UTF-8: empty where it has none. Goes on from the class that was asked for last, so that all names, one after
/// another, are read once.
fn name(class: usize) -> &'static str {
    let Some(model) = MODEL.0.get().filter(|model| class < model.config().classes) else {
        return "";
    };
    let last = NAMES.0.take().filter(|&(first, _)| first <= class);
    let (first, mut names) = last.unwrap_or_else(|| (0, model.class_names()));
    for _ in first..class {
        names.next();
    }
    let name = names.clone().next().flatten().unwrap_or_default();
    NAMES.0.set(Some((class, names)));
    name
}

/// Address of the name of a class, UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn class_name(class: usize) -> *const u8 {
    name(class).as_ptr()
}

/// Bytes of the name of a class; 0 where it has none.
#[unsafe(no_mangle)]
pub extern "C" fn class_name_len(class: usize) -> usize {
    name(class).len()
}

/// Draws a picture and returns the address of its bytes H W C, which stay until the next call; null where there is no such class.
#[unsafe(no_mangle)]
pub extern "C" fn draw(class: usize, seed: u64, number: u64) -> *const u8 {
    let Some(mut engine) = ENGINE.0.take() else {
        return core::ptr::null();
    };
    let picture = engine
        .draw(&DrawRequest { class, seed, number })
        .map_or(core::ptr::null(), <[u8]>::as_ptr);
    ENGINE.0.set(Some(engine));
    picture
}
