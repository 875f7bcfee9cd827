//! iceoryx2: a service each way, with an event to wait for.

use std::time::Duration;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::ipc::Service;

use super::link::{Ends, Link, capacity, fresh_name};

/// The longest wait for an event before the queue is checked again. Without a limit, one
/// measurement in ten hung.
const TIMEOUT: Duration = Duration::from_millis(10);

/// The ports of one side.
pub struct Iceoryx {
    publisher: Publisher<Service, [u8], ()>,
    subscriber: Subscriber<Service, [u8], ()>,
    notifier: Notifier<Service>,
    listener: Listener<Service>,
    polling: bool,
    sent: Vec<u8>,
    received: Vec<u8>,
    _node: Node<Service>,
}

impl Iceoryx {
    pub fn near(
        polling: bool,
        len: usize,
        start: impl FnOnce(Ends) -> anyhow::Result<()>,
    ) -> anyhow::Result<Box<dyn Link>> {
        let names = [fresh_name(), fresh_name()];
        // Open before the far side starts: messages published without a subscriber are lost.
        let link = Iceoryx::open(&names, len, polling)?;
        start(Ends::of_names(names))?;
        Ok(Box::new(link))
    }

    pub fn far(polling: bool, len: usize, ends: Ends) -> anyhow::Result<Box<dyn Link>> {
        let [there, back] = ends.names()?;
        Ok(Box::new(Iceoryx::open(&[back, there], len, polling)?))
    }

    fn open([to, from]: &[String; 2], len: usize, polling: bool) -> anyhow::Result<Iceoryx> {
        set_log_level(LogLevel::Fatal);
        let node = NodeBuilder::new().create::<Service>()?;
        let service = |name: &str| {
            let service = node.service_builder(&name.try_into()?).publish_subscribe::<[u8]>();
            let service = service.enable_safe_overflow(false).history_size(0);
            let service = service.subscriber_max_buffer_size(capacity(len));
            anyhow::Ok(service.max_publishers(1).max_subscribers(1).open_or_create()?)
        };
        let event = |name: &str| {
            anyhow::Ok(node.service_builder(&name.try_into()?).event().open_or_create()?)
        };
        let there = service(to)?;
        let publisher = there.publisher_builder().initial_max_slice_len(len);
        let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        Ok(Iceoryx {
            publisher: publisher.create()?,
            subscriber: service(from)?.subscriber_builder().create()?,
            notifier: event(to)?.notifier_builder().create()?,
            listener: event(from)?.listener_builder().create()?,
            polling,
            sent: vec![1; len],
            received: vec![],
            _node: node,
        })
    }
}

impl Link for Iceoryx {
    fn send(&mut self, n: u64) -> anyhow::Result<()> {
        self.sent[..8].copy_from_slice(&n.to_ne_bytes());
        let sample = self.publisher.loan_slice_uninit(self.sent.len())?;
        sample.write_from_slice(&self.sent).send()?;
        if !self.polling {
            self.notifier.notify()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<u64> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                self.received.clear();
                self.received.extend_from_slice(sample.payload());
                return Ok(u64::from_ne_bytes(self.received[..8].try_into()?));
            }
            if self.polling {
                std::hint::spin_loop();
            } else {
                self.listener.timed_wait(|_| {}, TIMEOUT)?;
            }
        }
    }
}
