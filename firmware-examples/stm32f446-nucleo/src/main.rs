//! Draws pictures as text over the serial port of an STM32 Nucleo-F446RE.
//!
//! You will see, in a terminal of 115,200 baud and at least 60 columns, the self-test and then a picture in characters with the time
//! that it took. The LED is on while the board computes and blinks while it waits; the blue button draws the next picture: all classes
//! with seed 0, then all with seed 1, and so on. What goes wrong is written to the terminal, and the LED stays on.
//!
//! | what        | pin  |                                                 |
//! |-------------|------|-------------------------------------------------|
//! | serial port | PA2  | the board's debugger passes it on through USB   |
//! | LED LD2     | PA5  |                                                 |
//! | button B1   | PC13 | low while it is pressed                         |
//!
//! Nothing has to be wired. For another STM32F4 change the feature of `stm32f4xx-hal` in Cargo.toml, `memory.x`, the pins and
//! [`CLOCK`].

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::fmt::{self, Write};
use cortex_m::delay::Delay;
use cortex_m::peripheral::DWT;
use hal::gpio::{Input, Output, PA5, PC13};
use hal::rcc::Config;
use hal::{pac, prelude::*};
use heapless::String;
use panic_halt as _;
use pixgen_core::Aligned;
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::kernels;
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PxgError};
use static_cell::ConstStaticCell;
use stm32f4xx_hal as hal;

mod model {
    //! The model file and the workspace that it needs; written by the build script.
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

/// The core's clock, Hz: the most that the chip allows.
const CLOCK: u32 = 180_000_000;
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
    // The internal oscillator feeds the PLL: it is on every board, and exact enough for the serial port.
    let mut rcc = chip.RCC.freeze(Config::hsi().sysclk(CLOCK.Hz()));
    let (port_a, port_c) = (chip.GPIOA.split(&mut rcc), chip.GPIOC.split(&mut rcc));
    let (mut dcb, mut dwt) = (core.DCB, core.DWT);
    dcb.enable_trace();
    dwt.enable_cycle_counter();
    let mut board = Board {
        led: port_a.pa5.into_push_pull_output(),
        button: port_c.pc13.into_input(),
        delay: Delay::new(core.SYST, CLOCK),
    };
    board.led.set_high();
    // Without a serial port there is nothing but the LED, which stays on.
    let Ok(mut serial) = chip.USART2.tx(port_a.pa2, 115_200.bps(), &mut rcc) else {
        return;
    };
    let Err(failure) = pictures(&mut board, &mut serial);
    let _ = write!(serial, "error: {failure}\r\n");
    board.led.set_high();
}

/// What a person touches and sees, but for the terminal.
struct Board {
    led: PA5<Output>,
    button: PC13<Input>,
    delay: Delay,
}

impl Board {
    /// Blinks until the button is let go and pressed again; its contacts get 20 ms to settle.
    fn wait_for_button(&mut self) {
        for pressed in [false, true] {
            for time in (0..1000_u32).cycle() {
                if self.button.is_low() == pressed {
                    break;
                }
                if time.is_multiple_of(500) {
                    self.led.toggle();
                }
                self.delay.delay_ms(1);
            }
            self.delay.delay_ms(20);
        }
        self.led.set_high();
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
            let time = cycles / (CLOCK / 1000);
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
