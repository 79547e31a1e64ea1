//! How an operation is run: at once where it can be, else in a task that owns the reply, until a signal for the caller.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::Adapter;
use super::label::Label;
use crate::error::Errno;
use crate::fs::core::{Caller, Core, Created, Entry, Opened, Renamed, Result, Written};
use crate::fs::own;
use crate::session::Store;

/// An operation on its way.
type Operation<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// What an operation did is being undone.
pub(super) type Undoing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S: Store> Adapter<S> {
    /// Runs an operation and replies. `take_back` undoes what an operation did whose caller no longer waits.
    pub(super) fn run<T, F>(
        &self,
        label: Label,
        operation: impl FnOnce(Arc<Core<S>>) -> F,
        reply: impl FnOnce(Result<T>) + Send + 'static,
        take_back: impl FnOnce(Arc<Core<S>>, T) -> Option<Undoing> + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let caller = Caller { pid: label.pid };
        let give_up = async move {
            caller.interrupted().await;
            Errno::EINTR
        };
        self.run_until(label, operation, reply, give_up, take_back);
    }

    /// Runs an operation and replies, with the error of `give_up` when that ends first.
    pub(super) fn run_until<T, F>(
        &self,
        label: Label,
        operation: impl FnOnce(Arc<Core<S>>) -> F,
        reply: impl FnOnce(Result<T>) + Send + 'static,
        give_up: impl Future<Output = Errno> + Send + 'static,
        take_back: impl FnOnce(Arc<Core<S>>, T) -> Option<Undoing> + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let core = self.core.clone();
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut operation: Operation<T> = {
            let (core, operation) = (core.clone(), own::for_caller(abandoned.clone(), operation(core.clone())));
            Box::pin(async move {
                let result = operation.await;
                // Who learns of a change from an answer does not find what is older in what the kernel keeps.
                core.changes().notices.delivered().await;
                result
            })
        };
        let _context = self.runtime.enter();
        // The waker does nothing: a task that goes on with the operation polls it at once with its own.
        if let Poll::Ready(result) = operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            label.end(&core, result.as_ref().err().copied());
            return reply(result);
        }
        let waiting = core.waiting();
        self.runtime.spawn(async move {
            let errno = tokio::select! {
                biased;
                result = &mut operation => {
                    drop(waiting);
                    label.end(&core, result.as_ref().err().copied());
                    return reply(result);
                }
                errno = give_up => errno,
            };
            drop(waiting);
            label.end(&core, Some(errno));
            abandoned.store(true, Ordering::SeqCst);
            reply(Err(errno));
            if let Ok(value) = operation.await
                && let Some(undo) = take_back(core, value)
            {
                undo.await;
            }
        });
    }
}

/// There is nothing to undo, or nobody to undo it for.
pub(super) fn nothing<S, T>(_core: Arc<Core<S>>, _value: T) -> Option<Undoing> {
    None
}

pub(super) fn forget_entry<S: Store>(core: Arc<Core<S>>, entry: Entry) -> Option<Undoing> {
    core.take_back(&entry);
    None
}

pub(super) fn close<S: Store>(core: Arc<Core<S>>, opened: Opened) -> Option<Undoing> {
    Some(Box::pin(async move { core.take_back_opened(opened).await }))
}

pub(super) fn take_back_created<S: Store>(core: Arc<Core<S>>, created: Created) -> Option<Undoing> {
    Some(Box::pin(async move { core.take_back_created(created).await }))
}

pub(super) fn take_back_made<S: Store>(core: Arc<Core<S>>, entry: Entry) -> Option<Undoing> {
    Some(Box::pin(async move { core.take_back_made(entry).await }))
}

pub(super) fn take_back_renamed<S: Store>(core: Arc<Core<S>>, renamed: Renamed) -> Option<Undoing> {
    Some(Box::pin(async move { core.take_back_renamed(renamed).await }))
}

pub(super) fn take_back_written<S: Store>(core: Arc<Core<S>>, written: Written) -> Option<Undoing> {
    Some(Box::pin(async move { core.take_back_written(written).await }))
}
