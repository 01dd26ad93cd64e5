//! How the processes of a training command find each other, agree on settings, and part.

use crate::cli::DeviceArgs;
use crate::config::RunConfig;
use crate::device::DeviceChoice;
use crate::distributed::replicas::{ReplicaError, check_batch, check_command, check_divided};
use crate::distributed::{Collective, Launcher, LinkError, MPI_VARIABLE, NCCL_OFF, NCCL_VARIABLE, Placement};
use crate::error::Error;
use crate::needs::dry_run::Processes;
use crate::needs::memory;
use crate::objective::StepError;
use crate::session::End;
use crate::settings::SettingsError;
use std::time::Duration;

/// Meets the others, who must have been started alike; whoever waits longer than `limit` for them gives up.
pub(super) fn join(placement: Option<Placement>, limit: Duration) -> Result<Collective, Error> {
    let Some(placement) = placement else {
        return Ok(Collective::default());
    };
    let command = command();
    let ranks = Collective::join(placement, &command, limit)?;
    check_command(&ranks, &command).unwrap_or_else(|error| ranks.fail(&error, error.hint()));
    Ok(ranks)
}

/// Program, arguments and settings of the environment. Where libraries and the cache are may differ from host to host.
fn command() -> Vec<String> {
    let own = [MPI_VARIABLE, NCCL_VARIABLE, crate::cache::OVERRIDE];
    let mut variables: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| name.starts_with("PIXGEN_") && (!own.contains(&name.as_str()) || value == NCCL_OFF))
        .map(|(name, value)| format!("{name}={}", value.to_string_lossy()))
        .collect();
    variables.sort();
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let program = std::env::current_exe().and_then(std::fs::read).map(|bytes| crc32fast::hash(&bytes));
    let program = program.map_or_else(|_| "unknown".to_owned(), |checksum| format!("{checksum:08x}"));
    std::iter::once(format!("pixgen-train {} with checksum {program}", env!("CARGO_PKG_VERSION")))
        .chain(arguments)
        .chain(variables)
        .collect()
}

/// How long whoever draws or measures waits for the others.
pub(super) const LIMIT: Duration = Duration::from_mins(10);

/// Meets the others, does something together on the device of each, and leaves.
pub(super) fn together(
    placement: Option<Placement>,
    device: &DeviceArgs,
    work: impl FnOnce(&Collective, DeviceChoice) -> Result<(), Error>,
) -> Result<(), Error> {
    let device = placement
        .as_ref()
        .map_or_else(|| device.device.clone(), |placement| placement.device(&device.device))
        .parse::<DeviceChoice>();
    let ranks = join(placement, LIMIT)?;
    let work = |ranks: &Collective| work(ranks, device?);
    match work(&ranks) {
        Ok(()) => ranks.leave(),
        Err(error) if !ranks.is_alone() => ranks.fail(&error, error.hint()),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Ends together with the others, or ends them: no error is one rank's alone.
pub(super) fn leave(ranks: &Collective, end: Result<End, Error>) -> Result<End, Error> {
    match end {
        Ok(_) => ranks.leave(),
        // The rank that cannot read its pictures says why, and ends the others.
        Err(Error::BadFileOnTheWay { error: StepError::OtherRank { .. }, .. }) => {}
        Err(error) if !ranks.is_alone() => ranks.fail(&error, error.hint()),
        Err(_) => {}
    }
    end
}

/// Whether processes can share a batch out, and divide the state if they are to.
pub(super) fn check_shares(config: &RunConfig, processes: &Processes) -> Result<(), ReplicaError> {
    check_batch(config.train.batch, processes.count, config.together())?;
    check_divided(config.optimiser.kind, processes.divided())
}

/// Gives everyone the settings of rank 0, if the ranks can share out what they say.
pub(super) fn give(ranks: &Collective, config: &RunConfig, processes: &Processes) -> Result<(), Error> {
    check_shares(config, processes)?;
    ranks.broadcast_text(&mut config.to_toml()?);
    Ok(())
}

/// The settings that rank 0 gives.
pub(super) fn take(ranks: &Collective) -> Result<RunConfig, Error> {
    let mut text = String::new();
    ranks.broadcast_text(&mut text);
    Ok(toml::from_str(&text).map_err(|error| SettingsError::NotToml { message: error.to_string() })?)
}

/// The settings as they are at this rank: the largest part of a batch, and its GPU if the command does not number one.
pub(super) fn settings_here(ranks: &Collective, config: &RunConfig) -> RunConfig {
    let mut here = config.clone();
    if let Some(placement) = ranks.placement() {
        here.train.batch = config.largest_part(placement.size);
        here.compute.device = placement.device(&here.compute.device);
    }
    here
}

/// Whether what joins the ranks carries what they tell each other on `device`: MPI anything, TCP between hosts only what GPUs do not.
pub(super) fn check_engine(ranks: &Collective, device: DeviceChoice) -> Result<(), LinkError> {
    match ranks.placement() {
        Some(placement @ Placement { launcher: Launcher::Torchrun(_), .. })
            if !placement.is_one_host() && !matches!(device, DeviceChoice::Cuda(_)) =>
        {
            Err(LinkError::SeveralHosts { size: placement.size, local: placement.local_size })
        }
        _ => Ok(()),
    }
}

/// Takes the largest micro-batch that fits everywhere; returns the free memory of this rank's device. `divide` of them divide the state.
pub(super) fn fit_micro_batch(ranks: &Collective, config: &mut RunConfig, divide: usize) -> Result<u64, Error> {
    let mut here = settings_here(ranks, config);
    let free = memory::fit_micro_batch(&mut here, divide)?;
    let fitting = ranks.all_gather(&[here.train.micro_batch as u64]);
    config.train.micro_batch = fitting.into_iter().min().unwrap_or_default() as usize;
    Ok(free)
}
