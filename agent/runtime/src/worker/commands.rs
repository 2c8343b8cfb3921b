//! What the loop tells a worker: spaces to start and to stop, mail, answers and signals for them.

use super::{Phase, Site, Task, Worker};
use crate::{
    actor::Until,
    budget,
    context::{Context, OutgoingPath},
    data::Data,
    interpreter::{Export, Guest},
    mailbox::{Kind, Letters},
    program::{Content, Loaded},
};
use std::sync::Arc;
use zhost_base::{Batch, ExitReason, Instant, Name, SpaceKey};
use zhost_exchange::{Exit, Launch, Origin, Refusal, Signal, Usage, WorkerCommand, WorkerEvent};
use zhost_mex::Assets;

impl Worker {
    /// The wall clock is there at the origin of the monotonic one: it may have been set. 0 if it is not set.
    pub fn handle_clock(&mut self, unix_origin_ms: u64) {
        if self.unix_origin_ms != unix_origin_ms {
            self.unix_origin_ms = unix_origin_ms;
            self.tasks.iter_mut().for_each(|(_, task)| task.guest.context().unix_origin_ms = unix_origin_ms);
        }
    }

    /// Obeys the node.
    pub fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Start(launch) => self.launches.push_back(launch),
            WorkerCommand::Stop(key) => self.stop(now, &key),
            WorkerCommand::Abandon(key) => {
                if self.tasks.get(&key).is_some_and(|task| task.settling.is_some()) {
                    self.finish(&key, Exit::Closed);
                }
            }
            WorkerCommand::Deliver { key, from, sender, path, payloads } => {
                let origin = Origin::Path(from, sender);
                self.put(&key, Letters::new(Kind::Path, origin, Some(path), payloads));
            }
            WorkerCommand::Target { key, path, up } => {
                self.with_path(&key, path, |path| path.aim(up));
                self.wake_if_refused(&key);
            }
            WorkerCommand::Credit { key, path, messages, bytes } => {
                self.with_path(&key, path, |path| {
                    path.settle(messages);
                    path.refill(messages, bytes);
                });
                self.wake_if_refused(&key);
            }
            WorkerCommand::Undelivered { key, path, undelivered, credit_bytes } => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.guest.context().note_undelivered(path, undelivered, credit_bytes);
                }
                if credit_bytes.is_some() {
                    self.wake_if_refused(&key);
                }
                self.enqueue(&key);
            }
            WorkerCommand::Signal { key, number, signal } => {
                if self.is_there(&key, number) {
                    self.handle_signal(&key, signal);
                } else if let Signal::Exit(pid, ExitReason { normal: false, reason }) = signal {
                    self.end_launch(
                        &key,
                        number,
                        &format!("the space {pid}, with which it is linked, ended: {reason}"),
                    );
                }
            }
            WorkerCommand::Answer { key, number, serial, answer } => {
                if self.is_there(&key, number) {
                    self.answer(&key, Some(serial), answer);
                }
            }
            WorkerCommand::Replicated { key, number, commit } => {
                if self.is_there(&key, number)
                    && let Some(task) = self.tasks.get_mut(&key)
                    && commit >= task.commits
                    && !self.storing.contains(&key)
                    && let Some(left) = task.settling.take()
                {
                    self.proceed(now, &key, left);
                }
            }
            WorkerCommand::Resume { key, number } => self.resume(key, number),
            WorkerCommand::TellWrite { key, number } => self.tell_write(key, number),
        }
    }

    pub(super) fn is_there(&self, key: &SpaceKey, number: u32) -> bool {
        self.tasks.get(key).is_some_and(|task| task.pid.number == number)
    }

    /// A space ends before it has begun.
    pub(super) fn end_launch(&mut self, key: &SpaceKey, number: u32, reason: &str) {
        let is_meant = |launch: &Launch| launch.key == *key && launch.pid.number == number;
        if let Some(index) = self.launches.iter().position(is_meant) {
            self.launches.remove(index);
            let exit = Exit::Crashed(reason.to_owned());
            self.tell_exit(key.clone(), number, exit);
        }
    }

    pub(super) fn stop(&mut self, now: Instant, key: &SpaceKey) {
        if let Some(index) = self.launches.iter().position(|launch| launch.key == *key)
            && let Some(launch) = self.launches.remove(index)
        {
            self.tell_exit(key.clone(), launch.pid.number, Exit::Closed);
        }
        if let Some(site) = self.sites.remove(key) {
            self.tell_exit(key.clone(), site.number, Exit::Closed);
        }
        let Some(task) = self.tasks.get_mut(key) else { return };
        if task.is_program {
            return self.finish(key, Exit::Closed);
        }
        task.stop = true;
        task.close_by = Some(now + budget::CLOSE_TIMEOUT);
        self.answer(key, None, Err(Refusal::TimedOut));
        self.enqueue(key);
        self.set_timer(key);
    }

    /// Gives a waiting guest its answer: to that question, or to whatever it waits for.
    pub(super) fn answer(&mut self, key: &SpaceKey, serial: Option<u32>, answer: Result<Vec<u8>, Refusal>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let waiting = &mut task.guest.context().waiting;
        let Some(waited) = waiting.take_if(|waiting| serial.is_none_or(|serial| serial == waiting.serial))
        else {
            return;
        };
        // A sleeper that wakes has what it wanted.
        let answer = if waited.until == Until::Deadline { Ok(Vec::new()) } else { answer };
        task.guest.answer(answer);
        self.enqueue(key);
        self.set_timer(key);
    }

    pub(super) fn put(&mut self, key: &SpaceKey, letters: Letters) {
        if let Some(task) = self.tasks.get_mut(key) {
            let mailbox = &mut task.guest.context().mailbox;
            mailbox.push(letters);
            if mailbox.signals() > budget::SIGNALS_WAITING_MAX {
                let reason = "it does not take the signals that it asked for";
                return self.finish(key, Exit::Crashed(reason.into()));
            }
        }
        self.enqueue(key);
    }

    pub(super) fn handle_signal(&mut self, key: &SpaceKey, signal: Signal) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let context = task.guest.context();
        let text = |text: &str| Batch::from_iter([text.as_bytes()]);
        let letters = match signal {
            Signal::Message(from, payloads) => {
                Letters::new(Kind::Direct, Origin::Direct(from), None, payloads)
            }
            Signal::Call(from, serial, path, payload) => {
                Letters::new(Kind::Call, Origin::Call(from, serial), path, Batch::from_iter([&*payload]))
            }
            Signal::Exit(pid, exit_reason) if context.traps_exits => {
                Letters::new(Kind::Exit, Origin::Signal(pid), None, text(&exit_reason.reason))
            }
            Signal::Exit(_, exit_reason) if exit_reason.normal => return,
            Signal::Exit(pid, exit_reason) => {
                let reason =
                    format!("the space {pid}, with which it is linked, ended: {}", exit_reason.reason);
                return self.finish(key, Exit::Crashed(reason));
            }
            Signal::Down(pid, exit_reason) => {
                Letters::new(Kind::Down, Origin::Signal(pid), None, text(&exit_reason.reason))
            }
            Signal::ZhostDown(name) => {
                Letters::new(Kind::ZhostDown, Origin::Nobody, None, text(name.as_str()))
            }
            Signal::NameLost(name) => Letters::new(Kind::NameLost, Origin::Nobody, None, text(name.as_str())),
            Signal::Credit(pid, messages, bytes) => {
                context.settle(pid, messages, bytes);
                return self.wake_if_refused(key);
            }
            Signal::Undelivered(pid, undelivered) => {
                context.unsent.entry(pid).or_default().add(undelivered);
                return self.enqueue(key);
            }
        };
        self.put(key, letters);
    }

    /// A guest that was told to try again may do so now.
    pub(super) fn wake_if_refused(&mut self, key: &SpaceKey) {
        let refused = |task: &mut Box<Task>| std::mem::take(&mut task.guest.context().was_refused);
        if self.tasks.get_mut(key).is_some_and(refused) {
            self.enqueue(key);
        }
    }

    pub(super) fn with_path(&mut self, key: &SpaceKey, path: u8, act: impl FnOnce(&mut OutgoingPath)) {
        if let Some(task) = self.tasks.get_mut(key)
            && let Some(path) = task.guest.context().paths.get_mut(usize::from(path))
        {
            act(path);
        }
    }

    /// Loads a space: reading and checking its package takes long, if it is not in use already.
    pub(super) fn start(&mut self, now: Instant, launch: Launch) {
        let (key, pid) = (launch.key.clone(), launch.pid);
        let content = self.programs.get(launch.package, launch.package_bytes, &launch.space);
        let loaded = match content {
            Ok(Content::Program(loaded)) => self.load(launch, loaded),
            Ok(Content::Files(assets)) => return self.open_site(key, pid.number, assets),
            Err(reason) => Err(reason),
        };
        match loaded {
            Ok((guest, loaded)) => {
                let task = Task {
                    guest,
                    loaded,
                    pid,
                    phase: Phase::Begin,
                    is_program: false,
                    in_call: false,
                    queued: false,
                    settling: None,
                    commits: 0,
                    stop: false,
                    fuel_spent: 0,
                    fuel_allowance: 0,
                    fuel_refilled_at: now,
                    wake_at: None,
                    close_by: None,
                    timer: None,
                    usage: Usage::default(),
                    usage_told_at: now,
                };
                self.tasks.insert(key.clone(), Box::new(task));
                self.begin_life(&key, Phase::Begin);
                self.enqueue(&key);
            }
            Err(reason) => self.tell_exit(key, pid.number, Exit::Crashed(reason)),
        }
    }

    /// A UI space runs nothing: it is there at once.
    pub(super) fn open_site(&mut self, key: SpaceKey, number: u32, assets: Assets) {
        let assets = Arc::new(assets);
        self.events.push_back(WorkerEvent::Serves(key.clone(), number, assets.clone()));
        self.events.push_back(WorkerEvent::Started(key.clone(), number));
        self.sites.insert(key, Site { number, assets });
    }

    pub(super) fn load(
        &mut self,
        launch: Launch,
        loaded: Arc<Loaded>,
    ) -> Result<(Box<dyn Guest>, Arc<Loaded>), String> {
        let spec = loaded.spec.clone();
        let writes = spec.capabilities.iter().any(|declared| declared.as_str() == "data.write");
        let data = Data::open(self.store.clone(), &launch.key, spec.storage_bytes, writes);
        let data = data.map_err(|e| e.to_string())?;
        let memory_bytes = spec.memory_bytes;
        let identity = (launch.key, launch.pid);
        let mut context = Context::new(identity, spec, data, self.devices.clone(), self.rng.fork());
        context.unix_origin_ms = self.unix_origin_ms;
        context.argument = launch.argument;
        let path = |name: &Name| OutgoingPath::new(name.clone());
        context.paths = loaded.paths.iter().map(path).collect();
        context.recognizers.clone_from(&loaded.recognizers);
        let guest = loaded.program.instantiate(context, memory_bytes).map_err(|e| e.to_string())?;
        Ok((guest, loaded))
    }

    /// Goes on to the first of its start section, `_initialize`, `on_init` and the space's own work that the guest has, from
    /// `phase` on.
    pub(super) fn begin_life(&mut self, key: &SpaceKey, phase: Phase) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        let steps = [
            (Phase::Begin, Export::Begin),
            (Phase::Initialize, Export::Initialize),
            (Phase::Init, Export::OnInit),
        ];
        for (step, export) in steps.into_iter().skip_while(|(step, _)| *step != phase) {
            if task.guest.call(export) {
                task.phase = step;
                task.in_call = true;
                return;
            }
        }
        task.phase = Phase::Process;
        self.events.push_back(WorkerEvent::Started(key.clone(), task.pid.number));
    }
}
