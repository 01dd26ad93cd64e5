//! Draws pictures as text over the serial port of an ESP32-C3 development kit (DevKitM-1 or DevKitC-02).
//!
//! You will see, in a terminal of 115,200 baud and at least 60 columns, the self-test and then a picture in characters with the time
//! that it took. The BOOT button draws the next picture: all classes with seed 0, then all with seed 1, and so on. What goes wrong is
//! written to the terminal.
//!
//! | what        | pin               |                                                          |
//! |-------------|-------------------|----------------------------------------------------------|
//! | serial port | GPIO21 (transmit) | the board's USB bridge is connected to it                |
//! | button BOOT | GPIO9             | low while it is pressed; held at reset it starts the ROM |
//!
//! Nothing has to be wired. There is no plain LED on these boards, so none blinks.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::fmt::{self, Write};
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{Input, InputConfig, Pull};
use esp_hal::time::{Duration, Instant};
use esp_hal::uart::{self, Uart};
use heapless::String;
use panic_halt as _;
use pixgen_core::Aligned;
use pixgen_core::integer::{DrawError, DrawRequest, SelfTestError};
use pixgen_core::kernels;
use pixgen_core::pixels::Band;
use pixgen_core::pxg::{Model, PxgError};
use static_cell::ConstStaticCell;

esp_bootloader_esp_idf::esp_app_desc!();

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

#[esp_hal::main]
fn main() -> ! {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let button = Input::new(chip.GPIO9, InputConfig::default().with_pull(Pull::Up));
    // Without a serial port there is nothing to say it with.
    if let Ok(serial) = Uart::new(chip.UART0, uart::Config::default()) {
        let mut serial = serial.with_tx(chip.GPIO21);
        let Err(failure) = pictures(&button, &mut serial);
        let _ = write!(serial, "error: {failure}\r\n");
    }
    loop {
        core::hint::spin_loop();
    }
}

/// Waits until the button is let go and pressed again; its contacts get 20 ms to settle.
fn wait_for(button: &Input<'_>) {
    for pressed in [false, true] {
        while button.is_low() != pressed {}
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {}
    }
}

/// Draws a picture, waits for the button, draws the next.
fn pictures(button: &Input<'_>, serial: &mut impl Write) -> Result<Infallible, Failure> {
    let Aligned(workspace) = WORKSPACE.try_take().ok_or(Failure::Workspace)?;
    let model = Model::read(model::FILE).map_err(Failure::Model)?;
    write!(serial, "\r\nmodel {}: {} bytes, kernel {}\r\n", model.header().name, model.file_len(), kernels::NAME)?;
    let vectors = model.self_test(workspace).map_err(Failure::SelfTest)?;
    write!(serial, "self-test: {vectors} pictures as expected\r\n")?;

    for seed in 0.. {
        for class in 0..model.config().classes {
            let request = DrawRequest { class, seed, number: 0 };
            let start = Instant::now();
            let usage = model.draw(&request, workspace, &mut |_| {}).map_err(Failure::Draw)?;
            let time = start.elapsed().as_millis();
            // Once more for the eye: the serial port takes far longer than the picture.
            let mut sent = Ok(());
            let mut send = |band: &Band<'_>| sent = sent.and_then(|()| print(band, serial));
            model.draw(&request, workspace, &mut send).map_err(Failure::Draw)?;
            sent?;
            let name = model.class_name(class).unwrap_or_default();
            write!(serial, "class {class} {name}, seed {seed}: {time} ms, {} bytes\r\n", usage.workspace)?;
            wait_for(button);
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
