//! The tasks of a map that are under way, in the two orders in which they can be awaited.
//!
//! They are [`Batch`](super::batch::Batch)es of an executor, or the tasks of a scope's map.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::task::{Interrupted, park, wait};

/// A part of the arguments of a map, under way.
pub(crate) trait UnderWay {
    /// Waits until it has ended.
    fn wait(&mut self) -> Result<(), Interrupted>;
    /// Registers `waker` to be woken when it ends. Returns true if it has ended already.
    fn register(&mut self, waker: &Waker) -> bool;
    /// Lets the caller, which is about to wait, do something for the tasks instead.
    fn linger(&self);
}

/// The batches under way, in some order.
pub(crate) trait Window<B> {
    /// Returns the number of batches.
    fn len(&self) -> usize;
    /// Adds a batch that was just started.
    fn push(&mut self, batch: B);
    /// Waits until the next batch has ended, and takes it. The window is not empty.
    fn next(&mut self) -> Result<B, Interrupted>;
    /// Takes all batches out.
    fn drain(&mut self) -> impl Iterator<Item = B>;
}

/// The batches in the order of the arguments.
pub(crate) struct InOrder<B>(VecDeque<B>);

impl<B> InOrder<B> {
    pub(crate) fn new() -> InOrder<B> {
        InOrder(VecDeque::new())
    }
}

impl<B: UnderWay> Window<B> for InOrder<B> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, batch: B) {
        self.0.push_back(batch);
    }

    fn next(&mut self) -> Result<B, Interrupted> {
        self.0.front_mut().expect("not empty").wait()?;
        Ok(self.0.pop_front().expect("not empty"))
    }

    fn drain(&mut self) -> impl Iterator<Item = B> {
        self.0.drain(..)
    }
}

/// The batches in the order in which they end.
pub(crate) struct AsFinished<B> {
    /// The batches, each at the place that its waker names.
    places: Vec<Option<B>>,
    free: Vec<usize>,
    /// The place at which the last search for a batch has ended.
    found: usize,
    finished: Arc<Finished>,
}

impl<B: UnderWay> AsFinished<B> {
    pub(crate) fn new() -> AsFinished<B> {
        AsFinished { places: Vec::new(), free: Vec::new(), found: 0, finished: Arc::default() }
    }

    /// Lingers for one of the batches. The search goes on where the last one ended, as a large
    /// window may be all but empty.
    fn linger(&mut self) {
        let count = self.places.len();
        let mut around = (self.found..self.found + count).map(|place| place % count);
        if let Some(place) = around.find(|place| self.places[*place].is_some()) {
            self.found = place;
            self.places[place].iter().for_each(UnderWay::linger);
        }
    }
}

impl<B: UnderWay> Window<B> for AsFinished<B> {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn push(&mut self, mut batch: B) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let finished = Arc::clone(&self.finished);
        let waker = Waker::from(Arc::new(PlaceWaker { place, finished }));
        if batch.register(&waker) {
            self.finished.push(place);
        }
        self.places[place] = Some(batch);
    }

    fn next(&mut self) -> Result<B, Interrupted> {
        if self.finished.is_empty() {
            self.linger();
        }
        let place = self.finished.next()?;
        self.free.push(place);
        Ok(self.places[place].take().expect("a place ends once for each batch"))
    }

    fn drain(&mut self) -> impl Iterator<Item = B> {
        self.free.clear();
        self.places.drain(..).flatten()
    }
}

/// The places whose batches have ended, and the caller that waits for the next.
#[derive(Default)]
struct Finished(Mutex<Ended>);

#[derive(Default)]
struct Ended {
    places: VecDeque<usize>,
    waiter: Option<Waker>,
}

/// The waker of the batch at one place.
struct PlaceWaker {
    place: usize,
    finished: Arc<Finished>,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.finished.push(self.place);
    }
}

impl Finished {
    fn push(&self, place: usize) {
        let mut ended = self.lock();
        ended.places.push_back(place);
        let waiter = ended.waiter.take();
        drop(ended);
        if let Some(waiter) = waiter {
            park::wake(waiter);
        }
    }

    fn is_empty(&self) -> bool {
        self.lock().places.is_empty()
    }

    /// Waits for the next place.
    fn next(&self) -> Result<usize, Interrupted> {
        let mut waker = None;
        let mut waited = Ok(());
        loop {
            let mut ended = self.lock();
            if let Some(place) = ended.places.pop_front() {
                return Ok(place);
            }
            waited?;
            ended.waiter = Some(waker.get_or_insert_with(park::waker).clone());
            drop(ended);
            waited = wait::for_wake(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
