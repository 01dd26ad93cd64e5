//! Counts instructions.
//!
//! RISC-V counts them itself. Cortex-M has no such counter in QEMU, but with `-icount shift=0` an instruction takes one nanosecond of the
//! machine's time, which SysTick measures.

#[cfg(target_arch = "arm")]
pub use cortex_m_meter::Meter;
#[cfg(target_arch = "riscv32")]
pub use riscv_meter::Meter;

impl pixgen_core::profile::Clock for Meter {
    fn now(&mut self) -> u64 {
        self.instructions()
    }
}

#[cfg(target_arch = "arm")]
mod cortex_m_meter {
    use core::sync::atomic::{AtomicU32, Ordering};
    use cortex_m::peripheral::{Peripherals, SCB, SYST, syst::SystClkSource};
    use cortex_m_rt::exception;

    /// SysTick counts down from here; 24 bits.
    const TOP: u32 = 0xff_ffff;

    /// Times that SysTick has wrapped.
    static WRAPS: AtomicU32 = AtomicU32::new(0);

    #[exception]
    fn SysTick() {
        // The only writer, so no read-modify-write is needed; ARMv6-M has none.
        WRAPS.store(WRAPS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A running counter.
    pub struct Meter {
        clock: u64,
    }

    impl Meter {
        /// Starts counting; `None` when it was started before. `clock` is that of SysTick in Hz.
        pub fn start(clock: u64) -> Option<Self> {
            let mut timer = Peripherals::take()?.SYST;
            timer.set_clock_source(SystClkSource::Core);
            timer.set_reload(TOP);
            timer.clear_current();
            timer.enable_interrupt();
            timer.enable_counter();
            Some(Self { clock })
        }

        /// Instructions since the start, to the tick of the clock.
        pub fn instructions(&self) -> u64 {
            let ticks = loop {
                let wraps = WRAPS.load(Ordering::Relaxed);
                let ticks = TOP - SYST::get_current();
                if !SCB::is_pendst_pending() && wraps == WRAPS.load(Ordering::Relaxed) {
                    break u64::from(wraps) << 24 | u64::from(ticks);
                }
            };
            ticks * 1_000_000_000 / self.clock
        }
    }
}

#[cfg(target_arch = "riscv32")]
mod riscv_meter {
    /// A running counter.
    pub struct Meter {
        start: u64,
    }

    impl Meter {
        /// Starts counting. There is no clock to know.
        pub fn start(_clock: u64) -> Option<Self> {
            Some(Self { start: riscv::register::minstret::read64() })
        }

        /// Instructions since the start.
        pub fn instructions(&self) -> u64 {
            riscv::register::minstret::read64() - self.start
        }
    }
}
