//! Boards that a model can be planned for: what their data sheets say, and what is assumed of their cores.

use serde::Serialize;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// Linux boards boot from a card or from a chip of at least this size, as makers count; what is on it is loaded into RAM.
const CARD: u64 = 8_000_000_000;

/// A development board, from the table or as a user describes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Board<'a> {
    /// What the user types.
    pub name: &'a str,
    /// Microcontroller.
    pub chip: &'a str,
    /// Its core; one of them, where there are several.
    pub core: Core,
    /// Highest clock, MHz.
    pub mhz: f64,
    /// Bytes of flash.
    #[serde(rename = "flash_bytes")]
    pub flash: u64,
    /// Bytes of the largest block of RAM without a gap.
    #[serde(rename = "ram_bytes")]
    pub ram: u64,
    /// Where the weights are read from.
    pub weights: WeightMemory,
    /// What is kept for Linux; none for chips without a system.
    pub system: Option<System>,
    /// What the chip takes while its core computes; none where no data sheet was found that says so.
    pub supply: Option<Supply>,
    /// Where the sizes and the clock come from.
    pub source: &'a str,
}

/// Memory that Linux and what starts with it need, so that a model cannot have it: an assumption for a system without a desktop.
///
/// Of RAM: what firmware and video set aside, the kernel, services, this program, and room for the cache of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct System {
    /// Bytes of RAM.
    #[serde(rename = "ram_bytes")]
    pub ram: u64,
    /// Bytes of the card or chip that it boots from.
    #[serde(rename = "flash_bytes")]
    pub flash: u64,
}

/// Current of a chip that computes from flash at its highest clock, its peripherals off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Supply {
    /// Typical current, mA.
    pub milliamperes: f64,
    /// Supply voltage that it was measured at, V.
    pub volts: f64,
}

/// Memory that weights are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightMemory {
    /// Flash, MRAM or RRAM of the chip.
    Internal,
    /// Serial flash beside the chip, read in place through a cache.
    Qspi,
    /// RAM, into which a system loads the file, through the caches of the CPU.
    Ram,
}

/// A kind of core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Core {
    /// Arm Cortex-M0+.
    #[serde(rename = "Cortex-M0+")]
    M0Plus,
    /// Arm Cortex-M3.
    #[serde(rename = "Cortex-M3")]
    M3,
    /// Arm Cortex-M4.
    #[serde(rename = "Cortex-M4")]
    M4,
    /// Arm Cortex-M7.
    #[serde(rename = "Cortex-M7")]
    M7,
    /// Arm Cortex-M33 with the DSP extension.
    #[serde(rename = "Cortex-M33")]
    M33,
    /// Arm Cortex-M55 with Helium.
    #[serde(rename = "Cortex-M55")]
    M55,
    /// Arm Cortex-M85 with Helium.
    #[serde(rename = "Cortex-M85")]
    M85,
    /// 32-bit RISC-V with multiplication and compressed instructions.
    #[serde(rename = "RV32IMC")]
    Rv32Imc,
    /// Arm Cortex-A53 under Linux.
    #[serde(rename = "Cortex-A53")]
    A53,
    /// Arm Cortex-A55 under Linux.
    #[serde(rename = "Cortex-A55")]
    A55,
    /// Arm Cortex-A72 under Linux.
    #[serde(rename = "Cortex-A72")]
    A72,
    /// Arm Cortex-A76 under Linux.
    #[serde(rename = "Cortex-A76")]
    A76,
    /// 64-bit RISC-V under Linux.
    #[serde(rename = "RV64GC")]
    Rv64Gc,
}

impl Core {
    /// All kinds, smallest first.
    pub const ALL: [Self; 13] = [
        Self::M0Plus,
        Self::M3,
        Self::M4,
        Self::M7,
        Self::M33,
        Self::M55,
        Self::M85,
        Self::Rv32Imc,
        Self::A53,
        Self::A55,
        Self::A72,
        Self::A76,
        Self::Rv64Gc,
    ];

    /// Name, as makers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::M0Plus => "Cortex-M0+",
            Self::M3 => "Cortex-M3",
            Self::M4 => "Cortex-M4",
            Self::M7 => "Cortex-M7",
            Self::M33 => "Cortex-M33",
            Self::M55 => "Cortex-M55",
            Self::M85 => "Cortex-M85",
            Self::Rv32Imc => "RV32IMC",
            Self::A53 => "Cortex-A53",
            Self::A55 => "Cortex-A55",
            Self::A72 => "Cortex-A72",
            Self::A76 => "Cortex-A76",
            Self::Rv64Gc => "RV64GC",
        }
    }

    /// The matrix products that firmware for this core is built with (`pixgen_core::kernels::NAME`), or that Linux on it chooses
    /// (`HostKernel::fastest`).
    pub const fn kernel(self) -> ChipKernel {
        match self {
            Self::M0Plus => ChipKernel::Armv6m,
            Self::M3 => ChipKernel::Armv7m,
            Self::M4 | Self::M7 | Self::M33 => ChipKernel::Dsp,
            Self::M55 | Self::M85 => ChipKernel::Mve,
            Self::Rv32Imc => ChipKernel::Riscv32,
            Self::A53 | Self::A72 => ChipKernel::Neon,
            Self::A55 | Self::A76 => ChipKernel::Dotprod,
            Self::Rv64Gc => ChipKernel::Portable,
        }
    }

    /// Cycles for an instruction, from and to: an assumption, with weights in internal flash behind a prefetch buffer or a cache.
    pub const fn cycles_per_instruction(self) -> [f64; 2] {
        match self {
            Self::M0Plus => [1.35, 1.5],
            Self::M3 => [1.2, 1.45],
            // Loads of several words are a large part of what is left.
            Self::M4 => [1.3, 1.6],
            Self::M7 => [0.6, 0.9],
            Self::M33 => [1.2, 1.55],
            Self::M55 => [1.2, 2.0],
            // Two instructions a cycle at most, of which one takes vectors.
            Self::M85 => [0.8, 1.7],
            Self::Rv32Imc => [1.2, 1.5],
            // In order, two instructions a cycle at most, vectors of 128 bits at half their rate.
            Self::A53 | Self::A55 => [0.8, 1.5],
            Self::A72 => [0.5, 1.0],
            Self::A76 => [0.3, 0.7],
            Self::Rv64Gc => [0.6, 1.2],
        }
    }

    /// Whether it runs Linux, with a kernel for hosts.
    pub const fn runs_linux(self) -> bool {
        matches!(self, Self::A53 | Self::A55 | Self::A72 | Self::A76 | Self::Rv64Gc)
    }
}

/// An implementation of the int8 matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChipKernel {
    /// Thumb-1.
    Armv6m,
    /// Thumb-2 with 32-bit multiply-accumulates.
    Armv7m,
    /// Two 16-bit products an instruction.
    Dsp,
    /// Helium: sixteen 8-bit products an instruction.
    Mve,
    /// RV32IM.
    Riscv32,
    /// aarch64: sixteen 8-bit products by two instructions, and one to add them.
    Neon,
    /// aarch64 with dot products: sixteen 8-bit products an instruction.
    Dotprod,
    /// What the compiler makes of plain loops.
    Portable,
}

impl ChipKernel {
    /// Name in logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Armv6m => "armv6m",
            Self::Armv7m => "armv7m",
            Self::Dsp => "dsp",
            Self::Mve => "mve",
            Self::Riscv32 => "riscv32",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::Portable => "portable",
        }
    }
}

impl WeightMemory {
    /// Added to the larger assumed number of cycles for an instruction.
    pub const fn extra_cycles(self) -> f64 {
        match self {
            Self::Internal | Self::Ram => 0.0,
            Self::Qspi => 0.2,
        }
    }

    /// What it is, for a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal flash",
            Self::Qspi => "QSPI flash",
            Self::Ram => "RAM",
        }
    }
}

impl Board<'_> {
    /// Cycles for an instruction, from and to: an assumption.
    pub const fn cycles_per_instruction(&self) -> [f64; 2] {
        let [low, high] = self.core.cycles_per_instruction();
        [low, high + self.weights.extra_cycles()]
    }

    /// Bytes of flash for code and model.
    pub const fn free_flash(&self) -> u64 {
        match self.system {
            Some(system) => self.flash.saturating_sub(system.flash),
            None => self.flash,
        }
    }

    /// Bytes of RAM for a model.
    pub const fn free_ram(&self) -> u64 {
        match self.system {
            Some(system) => self.ram.saturating_sub(system.ram),
            None => self.ram,
        }
    }
}

/// Instructions of a whole picture for each multiply-accumulate of its network, all else that a picture needs included.
///
/// Measured in QEMU with the quick start's architecture (`tests/budgets.json`, small-28-grey; `tests/run.sh linux-boards`). Narrower models take more, wider ones less:
/// nano-28-grey 1.30 and nano-64-rgb 1.14 on a Cortex-M4.
pub const fn instructions_per_mac(kernel: ChipKernel) -> f64 {
    match kernel {
        ChipKernel::Armv6m => 3.44,
        ChipKernel::Armv7m => 1.82,
        ChipKernel::Dsp => 1.14,
        ChipKernel::Mve => 0.24,
        ChipKernel::Riscv32 => 2.84,
        ChipKernel::Neon => 0.53,
        ChipKernel::Dotprod => 0.29,
        ChipKernel::Portable => 7.71,
    }
}

/// Finds a board by name.
pub fn board(name: &str) -> Option<&'static Board<'static>> {
    BOARDS.iter().find(|board| board.name == name)
}

use Core::{A53, A55, A72, A76, M0Plus, M4, M7, M33, M55, M85, Rv32Imc, Rv64Gc};
use WeightMemory::{Internal, Qspi, Ram};

const fn take(milliamperes: f64, volts: f64) -> Option<Supply> {
    Some(Supply { milliamperes, volts })
}

const fn linux(ram: u64) -> Option<System> {
    Some(System { ram, flash: 4 * GIB })
}

/// All boards, by maker.
#[rustfmt::skip]
pub const BOARDS: &[Board<'static>] = &[
    //      name                         chip                     core           clock     flash              largest block of RAM   weights in         kept for Linux             current            data sheet
    Board { name: "pico",                chip: "RP2040",          core: M0Plus,  mhz: 133.0, flash: 2 * MIB,    ram: 264 * KIB,        weights: Qspi,     system: None,              supply: None,             source: "Raspberry Pi, RP2040 Datasheet; Pico Datasheet" },
    Board { name: "pico2",               chip: "RP2350",          core: M33,     mhz: 150.0, flash: 4 * MIB,    ram: 520 * KIB,        weights: Qspi,     system: None,              supply: None,             source: "Raspberry Pi, RP2350 Datasheet; Pico 2 Datasheet" },
    Board { name: "microbit-v2",         chip: "nRF52833",        core: M4,      mhz: 64.0,  flash: 512 * KIB,  ram: 128 * KIB,        weights: Internal, system: None,              supply: None,             source: "Nordic, nRF52833 Product Specification" },
    // Current: nRF52840 Product Specification, key features: 52 uA/MHz running from flash, at 3 V with the DC/DC converter.
    Board { name: "nrf52840-dk",         chip: "nRF52840",        core: M4,      mhz: 64.0,  flash: MIB,        ram: 256 * KIB,        weights: Internal, system: None,              supply: take(3.3, 3.0),   source: "Nordic, nRF52840 Product Specification" },
    Board { name: "nrf54l15-dk",         chip: "nRF54L15",        core: M33,     mhz: 128.0, flash: 1524 * KIB, ram: 256 * KIB,        weights: Internal, system: None,              supply: None,             source: "Nordic, nRF54L15 Datasheet" },
    // Current: DS10314, features on page 1: run mode down to 100 uA/MHz with peripherals off.
    Board { name: "nucleo-f411re",       chip: "STM32F411RE",     core: M4,      mhz: 100.0, flash: 512 * KIB,  ram: 128 * KIB,        weights: Internal, system: None,              supply: take(10.0, 3.3),  source: "ST, DS10314" },
    // 64 KiB more lie apart, next to the core.
    // Current: DS8626, table 20: 168 MHz from flash with the ART accelerator, all peripherals disabled, 25 degrees.
    Board { name: "stm32f4-discovery",   chip: "STM32F407VG",     core: M4,      mhz: 168.0, flash: MIB,        ram: 128 * KIB,        weights: Internal, system: None,              supply: take(40.0, 3.3),  source: "ST, DS8626" },
    Board { name: "stm32f746-discovery", chip: "STM32F746NG",     core: M7,      mhz: 216.0, flash: MIB,        ram: 320 * KIB,        weights: Internal, system: None,              supply: None,             source: "ST, DS10916" },
    // AXI SRAM; the rest of 1 MiB lies in smaller blocks.
    Board { name: "nucleo-h743zi",       chip: "STM32H743ZI",     core: M7,      mhz: 480.0, flash: 2 * MIB,    ram: 512 * KIB,        weights: Internal, system: None,              supply: None,             source: "ST, DS12110" },
    // SRAM 1 to 3.
    // Current: DS13086, features on page 1: 19.5 uA/MHz in run mode at 3.3 V.
    Board { name: "b-u585i-iot02a",      chip: "STM32U585AI",     core: M33,     mhz: 160.0, flash: 2 * MIB,    ram: 768 * KIB,        weights: Internal, system: None,              supply: take(3.1, 3.3),   source: "ST, DS13086" },
    // 16 KiB more are the cache of the flash.
    // Current: ESP32-C3 Series Datasheet, current in modem-sleep mode: 160 MHz, CPU is running, peripherals disabled.
    Board { name: "esp32-c3-devkitm-1",  chip: "ESP32-C3",        core: Rv32Imc, mhz: 160.0, flash: 4 * MIB,    ram: 384 * KIB,        weights: Qspi,     system: None,              supply: take(23.0, 3.3),  source: "Espressif, ESP32-C3 Series Datasheet" },
    // Current: ESP32-C6 Series Datasheet, current in modem-sleep mode: 160 MHz, CPU is running, peripherals disabled.
    Board { name: "esp32-c6-devkitc-1",  chip: "ESP32-C6",        core: Rv32Imc, mhz: 160.0, flash: 8 * MIB,    ram: 512 * KIB,        weights: Qspi,     system: None,              supply: take(27.0, 3.3),  source: "Espressif, ESP32-C6 Series Datasheet" },
    // FlexRAM and OCRAM 2 have 512 KiB each.
    Board { name: "teensy-4.1",          chip: "i.MX RT1062",     core: M7,      mhz: 600.0, flash: 7936 * KIB, ram: 512 * KIB,        weights: Qspi,     system: None,              supply: None,             source: "NXP, IMXRT1060CEC; PJRC, Teensy 4.1" },
    // TCM and SRAM, which follow each other; the first 96 KiB of MRAM are its boot loader's.
    Board { name: "apollo4-plus-evb",    chip: "Apollo4 Plus",    core: M4,      mhz: 192.0, flash: 1952 * KIB, ram: 2816 * KIB,       weights: Internal, system: None,              supply: None,             source: "Ambiq, Apollo4 Plus SoC Datasheet" },
    // SRAM 0; the faster of two cores.
    Board { name: "ensemble-e7-devkit",  chip: "Alif E7",         core: M55,     mhz: 400.0, flash: 5632 * KIB, ram: 4 * MIB,          weights: Internal, system: None,              supply: None,             source: "Alif, Ensemble E7 Datasheet" },
    // The same, and chips that have an Ethos-U beside their core too (`npus`): SRAM 0; both banks of SRAM; shared memory; SRAM 0 and 1.
    Board { name: "ensemble-e3-devkit",  chip: "Alif E3",         core: M55,     mhz: 400.0, flash: 5632 * KIB, ram: 4 * MIB,          weights: Internal, system: None,              supply: None,             source: "Alif, Ensemble E3 Datasheet" },
    Board { name: "ensemble-e8-devkit",  chip: "Alif E8",         core: M55,     mhz: 400.0, flash: 5632 * KIB, ram: 4 * MIB,          weights: Internal, system: None,              supply: None,             source: "Alif, Ensemble E8 Datasheet" },
    Board { name: "grove-vision-ai-v2",  chip: "Himax WE2",       core: M55,     mhz: 400.0, flash: 16 * MIB,   ram: 2 * MIB,          weights: Qspi,     system: None,              supply: None,             source: "Himax, WiseEye2 HX6538; Seeed, Grove Vision AI V2" },
    Board { name: "kit-pse84-eval",      chip: "PSoC Edge E84",   core: M55,     mhz: 400.0, flash: 16 * MIB,   ram: 5 * MIB,          weights: Qspi,     system: None,              supply: None,             source: "Infineon, PSOC Edge E8x Datasheet" },
    // SRAM; 192 KiB of TCM lie apart.
    Board { name: "numaker-m55m1",       chip: "M55M1",           core: M55,     mhz: 220.0, flash: 2 * MIB,    ram: 1344 * KIB,       weights: Internal, system: None,              supply: None,             source: "Nuvoton, M55M1 Datasheet" },
    // MRAM, and SRAM without the TCM of both cores.
    Board { name: "ek-ra8p1",            chip: "RA8P1",           core: M85,     mhz: 1000.0, flash: MIB,       ram: 1872 * KIB,       weights: Internal, system: None,              supply: None,             source: "Renesas, RA8P1 Datasheet" },
    // 128 KiB of 768 are cache at least.
    Board { name: "esp32-p4-ev",         chip: "ESP32-P4",        core: Rv32Imc, mhz: 400.0, flash: 16 * MIB,   ram: 640 * KIB,        weights: Qspi,     system: None,              supply: None,             source: "Espressif, ESP32-P4 Series Datasheet; ESP32-P4-Function-EV-Board" },
    // Linux boards: the fastest of their cores, and the RAM of the smallest variant.
    Board { name: "raspberry-pi-zero-2-w", chip: "RP3A0",         core: A53,     mhz: 1000.0, flash: CARD,      ram: 512 * MIB,        weights: Ram,      system: linux(192 * MIB),  supply: None,             source: "Raspberry Pi, Zero 2 W Product Brief" },
    Board { name: "raspberry-pi-4",      chip: "BCM2711",         core: A72,     mhz: 1800.0, flash: CARD,      ram: GIB,              weights: Ram,      system: linux(256 * MIB),  supply: None,             source: "Raspberry Pi, 4 Model B Product Brief" },
    Board { name: "raspberry-pi-5",      chip: "BCM2712",         core: A76,     mhz: 2400.0, flash: CARD,      ram: GIB,              weights: Ram,      system: linux(256 * MIB),  supply: None,             source: "Raspberry Pi, 5 Product Brief" },
    Board { name: "visionfive-2",        chip: "JH7110",          core: Rv64Gc,  mhz: 1500.0, flash: CARD,      ram: 2 * GIB,          weights: Ram,      system: linux(512 * MIB),  supply: None,             source: "StarFive, VisionFive 2 Datasheet" },
    // These have NPUs; what is planned is the CPU.
    Board { name: "rock-5b",             chip: "RK3588",          core: A76,     mhz: 2400.0, flash: CARD,      ram: 4 * GIB,          weights: Ram,      system: linux(512 * MIB),  supply: None,             source: "Radxa, ROCK 5B Product Brief" },
    Board { name: "imx93-evk",           chip: "i.MX 93",         core: A55,     mhz: 1700.0, flash: CARD,      ram: 2 * GIB,          weights: Ram,      system: linux(512 * MIB),  supply: None,             source: "NXP, i.MX 93 EVK" },
    Board { name: "canmv-k230",          chip: "K230",            core: Rv64Gc,  mhz: 1600.0, flash: CARD,      ram: 512 * MIB,        weights: Ram,      system: linux(192 * MIB),  supply: None,             source: "Canaan, CanMV-K230; K230 Datasheet" },
    Board { name: "rv1126b-evb",         chip: "RV1126B",         core: A53,     mhz: 1600.0, flash: CARD,      ram: GIB,              weights: Ram,      system: linux(256 * MIB),  supply: None,             source: "Rockchip, RV1126B Brief Datasheet" },
    // The core that starts as RISC-V; a switch makes it a Cortex-A53.
    Board { name: "milk-v-duo-256m",     chip: "SG2002",          core: Rv64Gc,  mhz: 1000.0, flash: CARD,      ram: 256 * MIB,        weights: Ram,      system: linux(128 * MIB),  supply: None,             source: "Sophgo, SG2002 Technical Reference Manual; Milk-V, Duo 256M" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for b in BOARDS {
            assert_eq!(BOARDS.iter().filter(|other| other.name == b.name).count(), 1, "{}", b.name);
            assert_eq!(board(b.name), Some(b));
        }
        assert_eq!(board("Pico"), None);
    }

    /// A name is written in two places: here, and by the build of the core.
    #[test]
    fn ranges_are_ranges_and_names_agree() {
        for b in BOARDS {
            let [low, high] = b.cycles_per_instruction();
            assert!(0.0 < low && low < high, "{}", b.name);
            let kernel = b.core.kernel();
            assert_eq!(serde_json::to_value(kernel).unwrap(), kernel.name());
            assert_eq!(serde_json::to_value(b.core).unwrap(), b.core.name());
            assert!(instructions_per_mac(kernel) > 0.0);
            assert_eq!(b.system.is_some(), b.core.runs_linux(), "{}", b.name);
            assert!(b.free_flash() > 0 && b.free_ram() > 0, "{}", b.name);
        }
    }
}
