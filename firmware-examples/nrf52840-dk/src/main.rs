//! Draws pictures as text over the serial port of an nRF52840 development kit (PCA10056).
//!
//! You will see, in a terminal of 115,200 baud and at least 60 columns, the self-test and then a picture in characters with the time
//! that it took. LED1 is on while the board computes and blinks while it waits; button 1 draws the next picture: all classes with
//! seed 0, then all with seed 1, and so on. What goes wrong is written to the terminal, and the LED stays on.
//!
//! | what        | pin          |                                               |
//! |-------------|--------------|-----------------------------------------------|
//! | serial port | P0.06, P0.08 | the board's debugger passes it on through USB |
//! | LED1        | P0.13        | on when low                                   |
//! | button 1    | P0.11        | low while it is pressed                       |
//!
//! Nothing has to be wired.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::fmt::{self, Write};
use cortex_m::delay::Delay;
use cortex_m::peripheral::DWT;
use embedded_hal::digital::{InputPin, OutputPin, StatefulOutputPin};
use hal::clocks::HFCLK_FREQ;
use hal::gpio::p0::{P0_11, P0_13, Parts};
use hal::gpio::{Input, Level, Output, PullUp, PushPull};
use hal::uarte::{Baudrate, Parity, Pins, Uarte};
use hal::{Clocks, pac};
use heapless::String;
use nrf52840_hal as hal;
use panic_halt as _;
use pixgen_core::Aligned;
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::kernels;
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PxgError};
use static_cell::ConstStaticCell;

mod model {
    //! The model file and the workspace that it needs; written by the build script.
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

/// From dark to light.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
/// Widest picture that is shown whole, pixels.
const WIDEST: usize = 64;

static WORKSPACE: ConstStaticCell<Aligned<[u8; model::WORKSPACE]>> = ConstStaticCell::new(Aligned([0; model::WORKSPACE]));

/// Why there are no more pictures.
enum Failure {
    Workspace,
    Model(PxgError),
    SelfTest(SelfTestError),
    Draw(DrawError),
    Seeds,
    Serial,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace => f.write_str("the workspace is in use"),
            Self::Model(error) => write!(f, "model file: {error}"),
            Self::SelfTest(error) => error.fmt(f),
            Self::Draw(error) => error.fmt(f),
            Self::Seeds => f.write_str("no seeds are left"),
            Self::Serial => f.write_str("serial port"),
        }
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Serial
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    if let (Some(chip), Some(core)) = (pac::Peripherals::take(), cortex_m::Peripherals::take()) {
        run(chip, core);
    }
    loop {
        cortex_m::asm::wfi();
    }
}

/// Sets up the board and draws until something goes wrong.
fn run(chip: pac::Peripherals, core: cortex_m::Peripherals) {
    // The crystal: the internal oscillator is too inexact for a serial port.
    let _clocks = Clocks::new(chip.CLOCK).enable_ext_hfosc();
    let (mut dcb, mut dwt) = (core.DCB, core.DWT);
    dcb.enable_trace();
    dwt.enable_cycle_counter();
    let port = Parts::new(chip.P0);
    let mut board = Board {
        led: port.p0_13.into_push_pull_output(Level::Low),
        button: port.p0_11.into_pullup_input(),
        delay: Delay::new(core.SYST, HFCLK_FREQ),
    };
    let pins = Pins {
        rxd: port.p0_08.into_floating_input().degrade(),
        txd: port.p0_06.into_push_pull_output(Level::High).degrade(),
        cts: None,
        rts: None,
    };
    let mut serial = Uarte::new(chip.UARTE0, pins, Parity::EXCLUDED, Baudrate::BAUD115200);
    let Err(failure) = pictures(&mut board, &mut serial);
    let _ = write!(serial, "error: {failure}\r\n");
    let Ok(()) = board.led.set_low();
}

/// What a person touches and sees, but for the terminal.
struct Board {
    led: P0_13<Output<PushPull>>,
    button: P0_11<Input<PullUp>>,
    delay: Delay,
}

impl Board {
    /// Blinks until the button is let go and pressed again; its contacts get 20 ms to settle.
    fn wait_for_button(&mut self) {
        for pressed in [false, true] {
            for time in (0..1000_u32).cycle() {
                let Ok(low) = self.button.is_low();
                if low == pressed {
                    break;
                }
                if time.is_multiple_of(500) {
                    let Ok(()) = self.led.toggle();
                }
                self.delay.delay_ms(1);
            }
            self.delay.delay_ms(20);
        }
        let Ok(()) = self.led.set_low();
    }
}

/// Draws a picture, waits for the button, draws the next.
fn pictures(board: &mut Board, serial: &mut impl Write) -> Result<Infallible, Failure> {
    let Aligned(workspace) = WORKSPACE.try_take().ok_or(Failure::Workspace)?;
    let model = Model::read(model::FILE).map_err(Failure::Model)?;
    write!(serial, "\r\nmodel {}: {} bytes, kernel {}\r\n", model.header().name, model.file_len(), kernels::NAME)?;
    let vectors = model.self_test(workspace).map_err(Failure::SelfTest)?;
    write!(serial, "self-test: {vectors} pictures as expected\r\n")?;

    for seed in 0.. {
        for class in 0..model.config().classes {
            let request = DrawRequest { class, seed, number: 0 };
            let start = DWT::cycle_count();
            let usage = model.draw(&request, workspace, &mut |_| {}).map_err(Failure::Draw)?;
            let cycles = DWT::cycle_count().wrapping_sub(start);
            // Once more for the eye: the serial port takes far longer than the picture.
            let mut sent = Ok(());
            let mut send = |band: &Band<'_>| sent = sent.and_then(|()| print(band, serial));
            model.draw(&request, workspace, &mut send).map_err(Failure::Draw)?;
            sent?;
            let name = model.class_name(class).unwrap_or_default();
            let time = cycles / (HFCLK_FREQ / 1000);
            write!(serial, "class {class} {name}, seed {seed}: {time} ms, {cycles} cycles, {} bytes\r\n", usage.workspace)?;
            board.wait_for_button();
        }
    }
    Err(Failure::Seeds)
}

/// Writes the rows of a band, two characters for a pixel.
fn print(band: &Band<'_>, serial: &mut impl Write) -> fmt::Result {
    let mut line = String::<{ 2 * WIDEST }>::new();
    for (index, grey) in band.grey().enumerate() {
        let shade = SHADES[usize::from(grey) * (SHADES.len() - 1) / 255];
        // Pictures that are too wide lose their right side.
        let _ = line.push(shade).and_then(|()| line.push(shade));
        if (index + 1).is_multiple_of(band.width()) {
            write!(serial, "{line}\r\n")?;
            line.clear();
        }
    }
    Ok(())
}
