//! Forks for all pools, through one template for each spec.

use std::sync::Arc;
use std::time::Instant;

use super::children::Children;
pub(super) use super::children::Forked;
use super::template::Template;
use crate::process::pool::dispatcher::{Dispatcher, Service};
use crate::process::pool::link::WorkerLink;
use crate::process::worker::{self, template};
use crate::sys::process::child;
use crate::sys::signal::sigterm;

/// The forking side of the service.
pub(super) struct Spawner {
    templates: Vec<Template>,
    children: Children,
}

impl Spawner {
    pub(super) fn new(service: Arc<Service>) -> Spawner {
        let mut spawner = Spawner { templates: Vec::new(), children: Children::new(service) };
        spawner.adopt_orphans();
        spawner
    }

    /// Finds the workers and templates of the program that this process ran before it executed the
    /// present one: the kernel makes them children of the first thread. They end by themselves, and
    /// have to be reaped.
    ///
    /// A worker has none. Its first thread may have children of that name, which its task has
    /// forked.
    fn adopt_orphans(&mut self) {
        if sigterm::is_installed() {
            return;
        }
        for (pid, _) in child::of_first_thread().into_iter().filter(|(_, name)| is_ours(name)) {
            if let Ok(pidfd) = child::open(pid)
                && child::is_own(&pidfd)
            {
                self.children.add_stray(pid, pidfd);
            }
        }
    }

    /// Adds wanted workers: the pool, and the number.
    pub(super) fn want(&mut self, wanted: Vec<(Arc<Dispatcher>, usize)>) {
        for (dispatcher, count) in wanted {
            self.template_of(&dispatcher).want(dispatcher, count);
        }
    }

    fn template_of(&mut self, dispatcher: &Dispatcher) -> &mut Template {
        let spec = dispatcher.spec();
        let known = self.templates.iter().position(|template| template.spec == *spec);
        let index = known.unwrap_or_else(|| {
            self.templates.push(Template::new(Arc::clone(spec)));
            self.templates.len() - 1
        });
        &mut self.templates[index]
    }

    /// Requests as many of the wanted workers as may be under way, and returns the new ones.
    pub(super) fn pump(&mut self) -> Vec<Forked> {
        for template in &mut self.templates {
            template.pump(&mut self.children);
        }
        self.children.take_forked()
    }

    /// Withdraws the workers that a closed pool does not need any more. `requested` includes those
    /// requested from a template, if it is not waited for any longer.
    pub(super) fn withdraw(&mut self, dispatcher: &Arc<Dispatcher>, requested: bool) {
        self.template_of(dispatcher).withdraw(dispatcher, requested);
    }

    /// Notes that a pool has ended.
    pub(super) fn pool_ended(&mut self, dispatcher: &Arc<Dispatcher>) {
        self.template_of(dispatcher).pool_ended(dispatcher);
        self.drop_ended();
    }

    /// Returns the first moment at which a template's time to reply is up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.templates.iter().filter_map(Template::due).min()
    }

    /// Ends templates that take too long.
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        let children = &mut self.children;
        self.templates.iter_mut().for_each(|template| template.check_deadline(now, children));
    }

    /// Returns true if `id` is the number of a template or a stray.
    pub(super) fn is_concerned(&self, id: u64) -> bool {
        self.children.is_stray(id)
            || self.templates.iter().any(|template| template.is_concerned(id))
    }

    /// Acts on an event of a template or a stray.
    pub(super) fn handle(&mut self, id: u64, is_pidfd: bool, is_worker: &dyn Fn(u32) -> bool) {
        let children = &mut self.children;
        let Some(template) = self.templates.iter_mut().find(|template| template.is_concerned(id))
        else {
            // It may be a worker that its template has just reported.
            self.templates.iter_mut().for_each(|template| template.receive(children));
            children.reap_stray(id);
            return;
        };
        template.receive(children);
        if is_pidfd && template.reap() {
            self.adopt_strays(is_worker);
            self.drop_ended();
        }
    }

    /// Reaps a worker that cannot be killed when it ends.
    pub(super) fn outlives_its_pool(&mut self, link: Arc<WorkerLink>) {
        self.children.add_living(link);
    }

    fn drop_ended(&mut self) {
        self.templates.retain(|template| !template.is_over());
    }

    /// Finds workers that a dying template has forked and not reported: children of this thread
    /// that are not known. They end by themselves, and have to be reaped.
    fn adopt_strays(&mut self, is_worker: &dyn Fn(u32) -> bool) {
        let children = &mut self.children;
        // A worker that another template has reported by now is no stray.
        self.templates.iter_mut().for_each(|template| template.receive(children));
        for (pid, name) in child::of_calling_thread() {
            let known = children.knows(pid)
                || is_worker(pid)
                || self.templates.iter().any(|template| template.pid() == Some(pid));
            // Children of an ended thread may have become this thread's: they are not ours.
            if known || !is_ours(&name) {
                continue;
            }
            match child::open(pid) {
                Ok(pidfd) if child::is_own(&pidfd) => children.add_stray(pid, pidfd),
                Ok(_) => {}
                // Its end could not be noticed.
                Err(_) => child::kill_and_wait(pid),
            }
        }
    }
}

/// Returns true for the name of a template or a worker.
fn is_ours(name: &str) -> bool {
    [template::SHORT_NAME, worker::SHORT_NAME].iter().any(|ours| ours.to_str() == Ok(name))
}
