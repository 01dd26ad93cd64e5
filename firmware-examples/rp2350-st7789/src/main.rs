//! Draws pictures on a Raspberry Pi Pico 2 with an ST7789 display of 240x240 pixels.
//!
//! You will see a picture, enlarged by a whole number, and below it the class, the seed and the time that it took. The button draws
//! the next one: all classes with seed 0, then all with seed 1, and so on. Before the first picture the model draws its self-test
//! vectors and compares. What goes wrong is written on the display in red; the log over the debug probe says the same.
//!
//! | display | Pico 2                                              |
//! |---------|-----------------------------------------------------|
//! | VCC     | 3V3 (pin 36)                                        |
//! | GND     | GND (38)                                            |
//! | SCL     | GP18 (24)                                           |
//! | SDA     | GP19 (25)                                           |
//! | CS      | GP17 (22); some displays have none: leave it out    |
//! | DC      | GP20 (26)                                           |
//! | RES     | GP21 (27)                                           |
//! | BLK     | GP22 (29)                                           |
//!
//! The button goes between GP15 (20) and GND (18).
//!
//! There is no frame buffer: a picture goes to the display in bands of rows while the head of the network computes them.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::fmt::{self, Write as _};
use defmt_rtt as _;
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_6X10};
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use embedded_hal::delay::DelayNs;
use embedded_hal::digital::InputPin;
use embedded_hal::spi::MODE_3;
use embedded_hal_bus::spi::ExclusiveDevice;
use hal::clocks::{Clock as _, init_clocks_and_plls};
use hal::fugit::RateExtU32 as _;
use hal::gpio::{FunctionSpi, PinState, Pins};
use hal::timer::{CopyableTimer0, Timer};
use hal::{Sio, Spi, Watchdog, pac};
use heapless::String;
use mipidsi::{Builder, interface::SpiInterface, models::ST7789, options::ColorInversion};
use panic_probe as _;
use pixgen_core::Aligned;
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::kernels;
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PxgError};
use rp235x_hal as hal;
use static_cell::ConstStaticCell;

mod model {
    //! The model file and the workspace that it needs; written by the build script.
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

/// The crystal of the Pico 2, Hz.
const CRYSTAL: u32 = 12_000_000;
/// Width and height of the display, pixels.
const DISPLAY: u16 = 240;
/// Height of the caption at the bottom, pixels.
const CAPTION: u32 = 14;
/// Characters that fit side by side.
const COLUMNS: usize = DISPLAY as usize / 6;

/// What the boot ROM looks for.
// SAFETY: the section holds this constant only, and `memory.x` puts it where the boot ROM reads it.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: hal::block::ImageDef = hal::block::ImageDef::secure_exe();

static WORKSPACE: ConstStaticCell<Aligned<[u8; model::WORKSPACE]>> = ConstStaticCell::new(Aligned([0; model::WORKSPACE]));

/// Why there are no more pictures.
enum Failure {
    Board(&'static str),
    Model(PxgError),
    SelfTest(SelfTestError),
    Draw(DrawError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Board(part) => write!(f, "board: {part}"),
            Self::Model(error) => write!(f, "model file: {error}"),
            Self::SelfTest(error) => error.fmt(f),
            Self::Draw(error) => error.fmt(f),
        }
    }
}

#[hal::entry]
fn main() -> ! {
    let Err(failure) = start();
    defmt::error!("{}", defmt::Display2Format(&failure));
    loop {
        cortex_m::asm::wfi();
    }
}

/// Sets up the board.
fn start() -> Result<Infallible, Failure> {
    let mut pac = pac::Peripherals::take().ok_or(Failure::Board("peripherals"))?;
    let mut watchdog = Watchdog::new(pac.WATCHDOG);
    let (clocks, resets) = (pac.CLOCKS, &mut pac.RESETS);
    let clocks = init_clocks_and_plls(CRYSTAL, pac.XOSC, clocks, pac.PLL_SYS, pac.PLL_USB, resets, &mut watchdog)
        .map_err(|_| Failure::Board("clocks"))?;
    let mut timer = Timer::new_timer0(pac.TIMER0, resets, &clocks);
    let pins = Pins::new(pac.IO_BANK0, pac.PADS_BANK0, Sio::new(pac.SIO).gpio_bank0, resets);

    let wires = (pins.gpio19.into_function::<FunctionSpi>(), pins.gpio18.into_function::<FunctionSpi>());
    let bus = Spi::<_, _, _, 8>::new(pac.SPI0, wires).init(resets, clocks.peripheral_clock.freq(), 24.MHz(), MODE_3);
    let select = pins.gpio17.into_push_pull_output_in_state(PinState::High);
    let Ok(device) = ExclusiveDevice::new_no_delay(bus, select);
    let mut buffer = [0; 512];
    let interface = SpiInterface::new(device, pins.gpio20.into_push_pull_output(), &mut buffer);
    let mut display = Builder::new(ST7789, interface)
        .display_size(DISPLAY, DISPLAY)
        .invert_colors(ColorInversion::Inverted)
        .reset_pin(pins.gpio21.into_push_pull_output())
        .init(&mut timer)
        .map_err(|_| Failure::Board("display"))?;
    let _backlight = pins.gpio22.into_push_pull_output_in_state(PinState::High);
    let mut button = pins.gpio15.into_pull_up_input();

    let Err(failure) = pictures(&mut display, &mut button, &mut timer);
    let mut text = String::<{ 3 * COLUMNS }>::new();
    // What does not fit is cut off.
    let _ = write!(text, "{failure}");
    let screen = display.bounding_box();
    write_text(&mut display, screen, Rgb565::RED, &text)?;
    Err(failure)
}

/// Draws a picture, waits for the button, draws the next.
fn pictures<D>(display: &mut D, button: &mut impl InputPin, timer: &mut Timer<CopyableTimer0>) -> Result<Infallible, Failure>
where
    D: DrawTarget<Color = Rgb565>,
{
    let Aligned(workspace) = WORKSPACE.try_take().ok_or(Failure::Board("workspace"))?;
    let model = Model::read(model::FILE).map_err(Failure::Model)?;
    defmt::info!("model {=str}: {=usize} bytes, kernel {=str}", model.header().name, model.file_len(), kernels::NAME);
    let vectors = model.self_test(workspace).map_err(Failure::SelfTest)?;
    defmt::info!("self-test: {=usize} pictures as expected", vectors);

    let (side, size) = (u32::from(DISPLAY), model.config().size as u32);
    let scale = ((side - CAPTION) / size).max(1);
    let corner = Point::new((side.saturating_sub(size * scale) / 2) as i32, 0);
    let caption = Rectangle::new(Point::new(0, (side - CAPTION) as i32), Size::new(side, CAPTION));
    display.clear(Rgb565::BLACK).map_err(|_| Failure::Board("display"))?;

    for seed in 0.. {
        for class in 0..model.config().classes {
            let start = timer.get_counter();
            let mut sent = true;
            let mut send = |band: &Band<'_>| sent &= band.draw(display, corner, scale).is_ok();
            let usage = model
                .draw(&DrawRequest { class, seed, number: 0 }, workspace, &mut send)
                .map_err(Failure::Draw)?;
            if !sent {
                return Err(Failure::Board("display"));
            }
            let Some(time) = timer.get_counter().checked_duration_since(start) else {
                continue;
            };
            defmt::info!("class {=usize}, seed {=u64}: {=u64} ms, {=usize} bytes", class, seed, time.to_millis(), usage.workspace);

            let mut text = String::<COLUMNS>::new();
            let name = model.class_name(class).unwrap_or_default();
            // A long name is cut off, with what stands behind it.
            let _ = write!(text, "{name}  seed {seed}  {} ms", time.to_millis());
            write_text(display, caption, Rgb565::WHITE, &text)?;
            wait_for(button, timer).map_err(|_| Failure::Board("button"))?;
        }
    }
    Err(Failure::Board("seed"))
}

/// Writes text into an empty area, line under line.
fn write_text<D: DrawTarget<Color = Rgb565>>(display: &mut D, area: Rectangle, colour: Rgb565, text: &str) -> Result<(), Failure> {
    let style = MonoTextStyle::new(&FONT_6X10, colour);
    let mut draw = || {
        display.fill_solid(&area, Rgb565::BLACK)?;
        for (line, y) in text.as_bytes().chunks(COLUMNS).zip((area.top_left.y + 2..).step_by(12)) {
            let line = core::str::from_utf8(line).unwrap_or("?");
            Text::with_baseline(line, Point::new(area.top_left.x, y), style, Baseline::Top).draw(display)?;
        }
        Ok(())
    };
    draw().map_err(|_: D::Error| Failure::Board("display"))
}

/// Waits until the button is let go and pressed again; its contacts get 20 ms to settle.
fn wait_for<B: InputPin>(button: &mut B, timer: &mut impl DelayNs) -> Result<(), B::Error> {
    for pressed in [false, true] {
        while button.is_low()? != pressed {
            timer.delay_ms(1);
        }
        timer.delay_ms(20);
    }
    Ok(())
}
