//! The loop that scores a run. The page and the command share it.

use rewardscope_engine::{Cancel, EngineError, Scorer, device};
use rewardscope_store::StoreError;

use crate::claims::Claims;
use crate::journal::Journal;
use crate::run::{RunProgress, score_item};

/// The owner of a run while [`drive`] scores it. Between two steps other workers may claim items of the run and bring
/// their outcomes.
pub trait Driven {
    /// Calls `use_run` with the run's journal and claims; `None` where the run was closed.
    fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T>;
}

/// Why [`drive`] stopped before the run was done.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The device failed, or the work was cancelled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An outcome could not be written to the journal.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run was closed.
    #[error("scoring a run: it was closed; open it again")]
    Closed,
}

/// Scores the items of a run that have no outcome yet. After a stop, the finished items stay and the run can be driven
/// again. `tell` gets the progress after each item that is on disk.
///
/// ```no_run
/// # use std::cell::RefCell;
/// # use rewardscope_engine::{Cancel, Scorer};
/// # use rewardscope_eval::{Claims, Driven, Journal, RunReport, drive};
/// struct Own(RefCell<(Journal, Claims)>);
///
/// impl Driven for Own {
///     fn with<T>(&self, use_run: impl FnOnce(&mut Journal, &mut Claims) -> T) -> Option<T> {
///         let (journal, claims) = &mut *self.0.borrow_mut();
///         Some(use_run(journal, claims))
///     }
/// }
/// # async fn score(scorer: &Scorer, journal: Journal) -> Result<RunReport, Box<dyn std::error::Error>> {
/// let own = Own(RefCell::new((journal, Claims::default())));
/// drive(scorer, &own, &Cancel::default(), &mut |now| println!("{}/{}", now.items_done, now.items_total)).await?;
/// let report = own.0.borrow().0.run().report()?;
/// assert_eq!(report.items_done, report.items_total);
/// # Ok(report)
/// # }
/// ```
///
/// # Errors
/// [`DriveError`]. The item that was being scored then has no outcome.
pub async fn drive(
    scorer: &Scorer,
    run: &impl Driven,
    cancel: &Cancel,
    tell: &mut dyn FnMut(RunProgress),
) -> Result<(), DriveError> {
    // An item scored the next day must get the same date in its chat template as the first item.
    scorer.set_clock(run.with(|journal, _| journal.clock()).ok_or(DriveError::Closed)?);
    loop {
        let brought = |journal: &mut Journal, claims: &mut Claims| -> Result<bool, StoreError> {
            while let Some(outcome) = claims.next(journal.run()) {
                journal.push(outcome)?;
                tell(journal.progress());
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
            // Other workers hold what is left; wait for their outcomes.
            None => {
                cancel.check().map_err(EngineError::from)?;
                device::wait_a_little().await;
            }
        }
        device::pause().await;
    }
}
