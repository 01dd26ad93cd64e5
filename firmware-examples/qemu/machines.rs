//! The emulated machines. Read by the build script and by the test harness of the repository, so that each is described once.

/// A machine of QEMU, and how firmware is built for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Name, as `PIXGEN_MACHINE` takes it: QEMU's own, where one core runs on it.
    pub name: &'static str,
    /// What it stands for.
    pub core: &'static str,
    /// Emulator and its arguments but for the firmware.
    pub emulator: &'static [&'static str],
    /// Target triple.
    pub target: &'static str,
    /// `-Ctarget-cpu`, where the target's default leaves instructions of the core unused.
    pub cpu: Option<&'static str>,
    /// Features of this crate: kernels that the target triple does not imply.
    pub features: &'static [&'static str],
    /// File in `memory/`.
    pub memory: &'static str,
    /// Clock of SysTick in Hz; 0 where instructions are counted by the core itself.
    pub clock: u64,
}

/// RAM that the linker keeps free for the stack, in bytes. The firmware measures how much of it is used.
pub const STACK: u64 = 6656;

/// All machines, smallest core first.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "microbit",
        core: "Cortex-M0, nRF51822",
        emulator: &["qemu-system-arm", "-M", "microbit"],
        target: "thumbv6m-none-eabi",
        cpu: None,
        features: &[],
        memory: "nrf51822.x",
        clock: 16_000_000,
    },
    Machine {
        name: "mps2-an385-m0plus",
        core: "Cortex-M0+ code on a Cortex-M3",
        emulator: &["qemu-system-arm", "-M", "mps2-an385"],
        target: "thumbv6m-none-eabi",
        cpu: None,
        features: &[],
        memory: "mps2.x",
        clock: 25_000_000,
    },
    Machine {
        name: "lm3s6965evb",
        core: "Cortex-M3, LM3S6965",
        emulator: &["qemu-system-arm", "-M", "lm3s6965evb"],
        target: "thumbv7m-none-eabi",
        cpu: None,
        features: &[],
        memory: "lm3s6965.x",
        clock: 12_500_000,
    },
    Machine {
        name: "mps2-an385",
        core: "Cortex-M3",
        emulator: &["qemu-system-arm", "-M", "mps2-an385"],
        target: "thumbv7m-none-eabi",
        cpu: None,
        features: &[],
        memory: "mps2.x",
        clock: 25_000_000,
    },
    Machine {
        name: "mps2-an386",
        core: "Cortex-M4F",
        emulator: &["qemu-system-arm", "-M", "mps2-an386"],
        target: "thumbv7em-none-eabihf",
        cpu: None,
        features: &[],
        memory: "mps2.x",
        clock: 25_000_000,
    },
    Machine {
        name: "netduinoplus2",
        core: "Cortex-M4F, STM32F405",
        emulator: &["qemu-system-arm", "-M", "netduinoplus2"],
        target: "thumbv7em-none-eabihf",
        cpu: None,
        features: &[],
        memory: "stm32f405.x",
        clock: 168_000_000,
    },
    Machine {
        name: "mps2-an500",
        core: "Cortex-M7",
        emulator: &["qemu-system-arm", "-M", "mps2-an500"],
        target: "thumbv7em-none-eabihf",
        cpu: None,
        features: &[],
        memory: "mps2.x",
        clock: 25_000_000,
    },
    Machine {
        name: "mps2-an505",
        core: "Cortex-M33",
        emulator: &["qemu-system-arm", "-M", "mps2-an505"],
        target: "thumbv8m.main-none-eabihf",
        cpu: Some("cortex-m33"),
        features: &["dsp"],
        memory: "an505.x",
        clock: 20_000_000,
    },
    Machine {
        name: "mps3-an547",
        core: "Cortex-M55",
        emulator: &["qemu-system-arm", "-M", "mps3-an547"],
        target: "thumbv8m.main-none-eabihf",
        cpu: Some("cortex-m55"),
        features: &["mve"],
        memory: "an547.x",
        clock: 32_000_000,
    },
    Machine {
        name: "virt",
        core: "RV32IMC",
        emulator: &["qemu-system-riscv32", "-M", "virt", "-bios", "none"],
        target: "riscv32imc-unknown-none-elf",
        cpu: None,
        features: &[],
        memory: "virt.x",
        clock: 0,
    },
];

/// The machine called `name`.
pub fn machine(name: &str) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.name == name)
}
