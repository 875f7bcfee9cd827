//! Tasks as futures, and futures in plain code.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use trine::{Cause, Kind, Task, coroutine, future, process, thread, time};

fn one_of_each() -> [Task<u32>; 3] {
    [coroutine::spawn(|| 1), thread::spawn(|| 2), process::spawn(3, |n| n)]
}

async fn sum() -> u32 {
    let mut sum = 0;
    for task in one_of_each() {
        sum += task.await.unwrap();
    }
    sum
}

#[test]
fn tasks_of_all_kinds_are_awaited_wherever_the_future_runs() {
    assert_eq!(future::block_on(sum()), 6);
    assert_eq!(coroutine::spawn(|| future::block_on(sum())).join().unwrap(), 6);
    assert_eq!(thread::spawn(|| future::block_on(sum())).join().unwrap(), 6);
    assert_eq!(process::spawn((), |()| future::block_on(sum())).join().unwrap(), 6);
}

#[test]
fn an_awaited_task_that_fails_gives_its_error() {
    let error =
        future::block_on(process::spawn((), |()| std::process::abort())).map(|never: ()| never);
    let error = error.unwrap_err();
    assert!(matches!(error.cause(), Cause::Signaled { signal: 6, .. }), "{error}");
    assert_eq!(error.task().unwrap().kind, Kind::Process);
    let error = future::block_on(coroutine::spawn(|| panic!("awaited"))).map(|never: ()| never);
    assert!(error.unwrap_err().is_panic());
}

#[test]
fn waiting_for_a_future_leaves_the_carrier_to_others() {
    /// Ready once its value is set.
    #[derive(Clone, Default)]
    struct Slot(Arc<Mutex<(Option<u32>, Option<Waker>)>>);
    impl Slot {
        fn set(&self, value: u32) {
            let mut slot = self.0.lock().unwrap();
            slot.0 = Some(value);
            if let Some(waker) = slot.1.take() {
                // A waker may be cloned and used any number of times, from any thread.
                let clones: Vec<Waker> = (0..1000).map(|_| waker.clone()).collect();
                clones.into_iter().for_each(Waker::wake);
            }
        }
    }
    impl Future for Slot {
        type Output = u32;
        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
            let mut slot = self.0.lock().unwrap();
            match slot.0 {
                Some(value) => Poll::Ready(value),
                None => {
                    slot.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }
    }
    let slots: Vec<Slot> = (0..500).map(|_| Slot::default()).collect();
    let waiters: Vec<_> = slots
        .iter()
        .cloned()
        .map(|slot| coroutine::spawn(move || future::block_on(slot)))
        .collect();
    // More waiters than carriers: each parks, or the later ones would never run.
    let setters = [0, 1].map(|half| {
        let slots = slots.clone();
        std::thread::spawn(move || {
            for (n, slot) in slots.iter().enumerate().filter(|(n, _)| n % 2 == half) {
                slot.set(n as u32);
            }
        })
    });
    for (n, waiter) in waiters.into_iter().enumerate() {
        assert_eq!(waiter.join().unwrap(), n as u32);
    }
    setters.into_iter().for_each(|setter| setter.join().unwrap());
}

#[test]
fn a_polled_task_wakes_the_last_waker_it_was_given() {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (open, gate) = std::sync::mpsc::channel::<u32>();
    let mut task = pin!(thread::spawn(move || gate.recv().unwrap()));
    let [first, last] = [(); 2].map(|()| Arc::new(Count::default()));
    for count in [&first, &last, &first, &last] {
        let waker = Waker::from(Arc::clone(count));
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    open.send(8).unwrap();
    while last.0.load(Ordering::SeqCst) == 0 {
        time::sleep(Duration::from_micros(100));
    }
    let done = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(done, Poll::Ready(Ok(8))));
    assert_eq!((first.0.load(Ordering::SeqCst), last.0.load(Ordering::SeqCst)), (0, 1));
}

#[test]
#[should_panic(expected = "polled after its end")]
fn a_task_polled_after_its_end_says_so() {
    let mut task = pin!(coroutine::spawn(|| 1));
    let mut context = Context::from_waker(Waker::noop());
    while task.as_mut().poll(&mut context).is_pending() {
        std::thread::yield_now();
    }
    let _ = task.as_mut().poll(&mut context);
}
