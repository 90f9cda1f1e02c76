//! The loop of a run: page and command score the items that are left in the same way.

use rewardscope_engine::{Cancel, EngineError, Scorer, device};
use rewardscope_store::StoreError;

use crate::claims::Claims;
use crate::journal::Journal;
use crate::run::{RunProgress, score_item};

/// Where a run is kept while it is driven. Between two steps others may take items of it, and bring their outcomes.
pub trait Driven {
    /// Uses the journal and the claims for a moment; `None` where the run was closed.
    fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T>;
}

/// Why a run stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The device failed, or the work was cancelled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An outcome could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run is not open any more.
    #[error("scoring a run: it was closed; open it again")]
    Closed,
}

/// Scores what is left of a run. Stopped, it keeps what is done and can be driven again. `tell` hears of every item
/// that is on disk.
///
/// # Errors
/// [`DriveError`]; the item that was under way has no outcome then.
pub async fn drive(
    scorer: &Scorer,
    run: &impl Driven,
    cancel: &Cancel,
    tell: &mut dyn FnMut(RunProgress),
) -> Result<(), DriveError> {
    // An item scored the next day reads the date that the first one read.
    scorer.set_clock(run.with(|journal, _| journal.clock()).ok_or(DriveError::Closed)?);
    loop {
        let brought = |journal: &mut Journal, claims: &mut Claims| -> Result<bool, StoreError> {
            while let Some(outcome) = claims.next(journal.run()) {
                journal.push(outcome)?;
                tell(journal.run().progress());
            }
            Ok(journal.run().is_done())
        };
        if run.with(brought).ok_or(DriveError::Closed)?? {
            return Ok(());
        }
        let claimed = run.with(|journal, claims| {
            let place = claims.claim(journal.run())?;
            Some((place, journal.run().items()[place].clone()))
        });
        match claimed.ok_or(DriveError::Closed)? {
            Some((place, item)) => match score_item(scorer, &item, cancel).await {
                Ok(outcome) => {
                    run.with(|journal, claims| claims.bring(journal.run(), place, outcome))
                        .ok_or(DriveError::Closed)?;
                }
                Err(error) => {
                    run.with(|_, claims| claims.release(place));
                    return Err(error.into());
                }
            },
            // Others are at work on what is left.
            None => {
                cancel.check().map_err(EngineError::from)?;
                device::wait_a_little().await;
            }
        }
        device::pause().await;
    }
}
