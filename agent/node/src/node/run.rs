//! How concerns are run: each is given what it may see, and what it wants done is carried out as soon as it has
//! returned.

use super::Node;
#[cfg(debug_assertions)]
use crate::faults::Moment;
use crate::{
    cluster::clock::TimeOfDay,
    data::{
        blobs::{Blobs, Needs},
        copies::Copies,
        disposal::{Disposal, Waste},
        replicas::{Here, Replicas},
    },
    disk::DiskReply,
    effects::{Effect, Effects},
    facts::Facts,
    faults::{Part, Scope},
    mesh::{links::Links, neighbours::Mesh, streams::Streams},
    output::{Level, Output},
    spaces::{
        actors::Actors,
        bonds::Wish,
        context::Context,
        host::Host,
        messages::{Local, Messages},
        wishes::Situation,
    },
    wire::{ActorMessage, DataMessage, Frame},
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};
use zhost_base::{Batch, BlobDigest, Generation, Instant, SpaceKey, TopologyId, ZhostId, panic_message};
use zhost_exchange::{Act, Origin, StoreError, WorkerCommand, WorkerEvent};
use zhost_gossip::{
    document::DataLife,
    row::{Row, RowKey, SpaceRow},
};

impl Node {
    /// Has a concern of `cluster/` take something in, and carries out what it wants done. A panic ends the agent.
    pub(crate) fn run_cluster<T>(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Self, &mut Effects) -> T,
    ) -> T {
        let mut effects = self.spare.take();
        let outcome = self.do_fatally(|node| work(node, &mut effects));
        self.carry_out_all(now, effects);
        outcome
    }

    /// Does what belongs to no part: a panic in it ends the agent, whoever catches it.
    pub(crate) fn do_fatally<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.is_fatal, true);
        let outcome = work(self);
        self.is_fatal = before;
        outcome
    }

    /// Has a concern of that part take something in, and carries out what it wants done. A panic costs what this would have
    /// come to, and the part begins again before the input at hand is worked off; until then nothing comes of its work.
    pub(crate) fn run<T: Default>(
        &mut self,
        now: Instant,
        part: Part,
        work: impl FnOnce(&mut Self, &mut Effects) -> T,
    ) -> T {
        let (mut work, mut outcome) = (Some(work), None);
        let is_done = self.guard(now, part, &mut |node, effects| {
            outcome = work.take().map(|work| work(node, effects));
        });
        outcome.filter(|_| is_done).unwrap_or_default()
    }

    /// The one catch; whether the work was done. It takes that by reference, so that the program has this but once.
    fn guard(&mut self, now: Instant, part: Part, work: &mut dyn FnMut(&mut Self, &mut Effects)) -> bool {
        let about = self.about;
        if self.faults.is_broken(part) {
            return false;
        }
        let mut effects = self.spare.take();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.strike((part, about), true);
            work(self, &mut effects);
            self.strike((part, about), false);
        }));
        match outcome {
            Ok(()) => {
                self.carry_out_all(now, effects);
                true
            }
            Err(panic) => {
                let scope = (part, effects.take_about().or(self.about));
                self.about = about;
                self.handle_panic(now, scope, panic);
                false
            }
        }
    }

    /// Does what is about a topology: a panic in it is that topology's.
    pub(crate) fn do_about<T>(&mut self, topology: TopologyId, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.about.replace(topology);
        let outcome = work(self);
        self.about = before;
        outcome
    }

    /// A part panicked: it is to begin again. If it did so in what belongs to no part, or too often, the agent ends.
    fn handle_panic(&mut self, now: Instant, scope: Scope, panic: Box<dyn Any + Send>) {
        let is_fatal = self.is_fatal;
        match self.faults.handle_panic(now, scope, panic_message(panic.as_ref())).filter(|_| !is_fatal) {
            Some(text) => self.log(Level::Warn, text),
            None => {
                self.is_fatal = true;
                resume_unwind(panic);
            }
        }
    }

    /// A panic, if one is planted here.
    fn strike(&mut self, scope: Scope, is_before: bool) {
        #[cfg(debug_assertions)]
        self.faults.strike(scope, if is_before { Moment::Before } else { Moment::After });
        let _ = (scope, is_before);
    }

    fn carry_out_all(&mut self, now: Instant, mut effects: Effects) {
        effects.drain().for_each(|effect| self.carry_out(now, effect));
        self.spare.put_back(effects);
    }

    /// Has the mesh take something in.
    pub(crate) fn run_mesh<T: Default>(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Mesh, &mut Streams, &Facts) -> T,
    ) -> T {
        self.run(now, Part::Mesh, |node, _| work(&mut node.mesh, &mut node.streams, &node.facts))
    }

    /// Sends a frame to a live zhost, in order and once. Whether it was taken.
    pub(crate) fn send(&mut self, now: Instant, peer: ZhostId, frame: &Frame) -> bool {
        self.run_mesh(now, |_, streams, facts| streams.send(now, facts, peer, frame))
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Disk(request, purpose) => self.disk(request, purpose),
            Effect::Send(to, frame) => {
                self.send(now, to, &frame);
            }
            Effect::Hop(to, hop) => self.run_mesh(now, |mesh, _, _| mesh.links.send(to, &hop)),
            Effect::Row(key, row) => self.set_row(now, key, row),
            Effect::Messages(to, frames) => self.send_messages(now, to, frames),
            Effect::Order(to, key, parts) => self.send_order(now, to, key, parts),
            Effect::SpaceRow(key) => self.write_space_row(now, &key),
            Effect::SpaceStarts(key) => {
                self.run(now, Part::Data, |node, _| node.copies.forget_sessions(|other| *other == key));
            }
            Effect::SpaceEnded(key, number, exit_reason) => {
                self.run(now, Part::Spaces, |node, effects| node.web.close_site(&key, effects));
                self.run_actors(now, |actors, cx, effects| {
                    actors.handle_space_ended(cx, (&key, number), &exit_reason, effects);
                });
            }
            Effect::SpaceGone(key) => {
                self.run(now, Part::Spaces, |node, _| node.messages.forget_sender(&key));
                self.run(now, Part::Data, |node, effects| node.disposal.dispose(&node.host, effects));
            }
            Effect::Emit(key, path, payloads) => self.emit(now, &key, path, payloads),
            Effect::Output(output) => self.output(output),
            Effect::Actor(to, topology, actor_message) => {
                self.send_actor_message(now, to, topology, actor_message);
            }
            // It may be left alone since somebody asked for it.
            Effect::Host(launch, ..) if self.faults.is_held(Part::Spaces, launch.key.topology) => {}
            Effect::Host(launch, revision, spawner) => self.run(now, Part::Spaces, |node, effects| {
                node.host.take_in_spawned(now, &node.facts, (launch, revision), spawner, effects);
            }),
            Effect::Close(key) => {
                self.run(now, Part::Spaces, |node, effects| node.host.close(&node.facts, &key, effects));
            }
            Effect::Blobs => self.refresh_blobs(now),
            Effect::NoRow(key) => self.facts.registry.remove(now, &key),
            Effect::End(ending) => {
                self.end(now, ending);
            }
            Effect::Log(level, text) => self.log(level, text),
        }
    }

    /// Has the time of day take something in, at this time of the shell's clock.
    pub(crate) fn run_clock(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut TimeOfDay, &Facts, (u64, &Links), &mut Effects),
    ) {
        let shell_ms = self.steady.shell_time(now).as_millis();
        self.run_cluster(now, |node, effects| {
            work(&mut node.time_of_day, &node.facts, (shell_ms, &node.mesh.links), effects);
        });
    }

    /// Has the host of the spaces take something in.
    pub(crate) fn run_host<T: Default>(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Host, &Situation<'_>, &mut Effects) -> T,
    ) -> T {
        let (unix_ms, is_leaving) = (self.unix_ms(now), self.is_shutting_down());
        self.run(now, Part::Spaces, |node, effects| {
            let situation = Situation {
                now,
                unix_ms,
                facts: &node.facts,
                blobs: &node.blobs,
                disposal: &node.disposal,
                faults: &node.faults,
                is_leaving,
            };
            work(&mut node.host, &situation, effects)
        })
    }

    /// Starts and closes spaces until those run here that should.
    pub(crate) fn reconcile_spaces(&mut self, now: Instant) {
        self.run_host(now, |host, at, effects| host.reconcile(at, effects));
    }

    /// Says in the registry how a space here is. Spawned ones are found by their pids; a row for each would drown the
    /// registry.
    fn write_space_row(&mut self, now: Instant, key: &SpaceKey) {
        let Some(space) = self.host.space(key).filter(|space| !space.is_spawned()) else { return };
        let row = SpaceRow {
            state: space.state,
            placement: space.placement,
            revision: space.revision,
            incarnation: space.launch.pid.number,
            restarts: space.restarts,
            synced: self.replicas.synced(&self.facts, key),
        };
        self.set_row(now, RowKey::Space(key.clone()), Row::Space(row));
    }

    /// A worker reports.
    pub(super) fn handle_worker_event(&mut self, now: Instant, event: WorkerEvent) {
        let topology = event.key().topology;
        // What is left alone is being closed: what it still does to others is not looked at.
        if event.does_something() && self.faults.is_held(Part::Spaces, topology) {
            return;
        }
        self.do_about(topology, |node| node.take_worker_event(now, event));
    }

    fn take_worker_event(&mut self, now: Instant, event: WorkerEvent) {
        match event {
            WorkerEvent::Started(key, number) => {
                let is_spawned =
                    self.run_host(now, |host, at, effects| host.handle_started(at, (&key, number), effects));
                self.tell_spawned(now, is_spawned, number);
            }
            WorkerEvent::Serves(key, number, assets) => self.run(now, Part::Spaces, |node, _| {
                if node.host.key_of(number) == Some(&key) {
                    node.web.open_site(key, assets);
                }
            }),
            WorkerEvent::Exited(key, number, exit) => {
                self.run_host(now, |host, at, effects| host.handle_exit(at, (&key, number), exit, effects));
            }
            WorkerEvent::Emitted(key, path, payloads) => self.emit(now, &key, path, payloads),
            WorkerEvent::Acted(key, number, act) => self.act(now, (&key, number), act),
            WorkerEvent::Consumed(key, consumed) => match (&consumed.origin, &consumed.path) {
                (Origin::Path(from, sender), Some(path)) => {
                    let flow = (from.clone(), *sender, path.clone());
                    let amount = (consumed.messages, consumed.bytes);
                    self.run(now, Part::Spaces, |node, _| {
                        node.messages.handle_consumed(&mut node.host, &key, flow, amount);
                    });
                }
                _ => self.run_actors(now, |actors, cx, effects| {
                    actors.mail.handle_consumed(cx, &key, &consumed, effects);
                }),
            },
            WorkerEvent::Wrote(key, number, commit, changes) => self.run_replicas(now, |replicas, here| {
                replicas.handle_wrote(here, &key, (number, commit), changes);
            }),
            WorkerEvent::Used(key, number, usage) => self.run(now, Part::Spaces, |node, _| {
                node.host.handle_usage(now, (&key, number), usage);
            }),
            WorkerEvent::Log(key, level, text) => self.run_host(now, |host, at, effects| {
                host.handle_line(at.unix_ms, &key, (level, text), effects);
            }),
            WorkerEvent::Resumed(key, number, presence, given_up) => {
                let is_spawned = self.run_host(now, |host, at, effects| {
                    host.handle_resumed(at, (&key, number), presence, effects)
                });
                self.tell_spawned(now, is_spawned, number);
                self.run_actors(now, |actors, cx, effects| {
                    given_up.into_iter().for_each(|serial| {
                        actors.give_up_question(cx, (number, serial), effects);
                    });
                });
            }
        }
    }

    /// Who spawned a space that runs now is told.
    fn tell_spawned(&mut self, now: Instant, is_spawned: bool, number: u32) {
        if is_spawned {
            self.run_actors(now, |actors, cx, effects| {
                actors.spawns.tell(cx.facts, number, Ok(()), effects);
            });
        }
    }

    /// A space here sent messages along a path. If that panics, its worker tells it of all that it has under way.
    fn emit(&mut self, now: Instant, key: &SpaceKey, path: u8, payloads: Batch) {
        self.run_messages(now, |messages, local| messages.handle_emitted(local, key, path, payloads));
    }

    /// A space here did something to others. If nothing is done for it, it is told of ends that it would wait for in vain.
    fn act(&mut self, now: Instant, (key, number): (&SpaceKey, u32), act: Act) {
        let wish = Wish::of(&act);
        self.run_actors(now, |actors, cx, effects| actors.handle_act(cx, (key, number), act, effects));
        let is_done = !self.faults.is_broken(Part::Spaces);
        if let Some(signal) =
            wish.filter(|_| !is_done).and_then(|wish| self.actors.bonds.refuse(number, wish))
        {
            let key = key.clone();
            self.output(Output::Worker(WorkerCommand::Signal { key, number, signal }));
        }
    }

    /// Takes another agent up, or keeps the one on trial, if it is time.
    pub(crate) fn refresh_firmware(&mut self, now: Instant) {
        // An agent on trial whose parts panic is given up when its trial ends.
        let is_sound = !self.firmware.is_on_trial() || self.faults.panics().next().is_none();
        let stays = !self.is_shutting_down() && is_sound;
        self.run(now, Part::Firmware, |node, effects| {
            node.firmware.refresh(now, &node.facts, &node.blobs, stays, effects);
        });
    }

    /// Has the actors take something in.
    pub(crate) fn run_actors(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Actors, &Context<'_>, &mut Effects),
    ) {
        let takes_spawns = self.config.runs_spaces && !self.is_shutting_down();
        self.run(now, Part::Spaces, |node, effects| {
            let context = Context {
                now,
                facts: &node.facts,
                host: &node.host,
                web: &node.web,
                messages: &node.messages,
                blobs: &node.blobs,
                takes_spawns,
                memory_bytes: node.config.memory_bytes,
            };
            work(&mut node.actors, &context, effects);
        });
    }

    /// Has the messages between spaces take something in.
    pub(crate) fn run_messages(&mut self, now: Instant, work: impl FnOnce(&mut Messages, &mut Local<'_>)) {
        self.run(now, Part::Spaces, |node, effects| {
            let (host, web) = (&mut node.host, &mut node.web);
            work(&mut node.messages, &mut Local { facts: &node.facts, host, web, effects });
        });
    }

    fn send_messages(&mut self, now: Instant, to: ZhostId, frames: Vec<Frame>) {
        let mut frames = frames.into_iter();
        let refused = frames.find(|frame| !self.send(now, to, frame));
        if let Some(refused) = refused {
            let unsent = std::iter::once(refused).chain(frames).collect();
            self.run_messages(now, |messages, local| messages.handle_unsent(local, to, unsent));
        }
    }

    /// Takes an actor message to its zhost, which may be this one; what was not taken its sender hears of.
    fn send_actor_message(
        &mut self,
        now: Instant,
        to: ZhostId,
        topology: TopologyId,
        actor_message: ActorMessage,
    ) {
        let me = self.facts.id;
        if to == me {
            return self.run_actors(now, |actors, cx, effects| {
                actors.handle_message(cx, me, topology, actor_message, effects);
            });
        }
        let frame = Frame::Actor(topology, actor_message);
        if !self.send(now, to, &frame)
            && let Frame::Actor(_, actor_message) = frame
        {
            self.run_actors(now, |actors, cx, effects| {
                actors.handle_unsent(cx, to, actor_message, effects);
            });
        }
    }

    /// Spawns that wait no more go on, or come to nothing.
    pub(crate) fn resume_spawns(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.run_actors(now, |actors, cx, _| due = actors.spawns.take_due(cx));
        for spawn in due {
            self.run_actors(now, |actors, cx, effects| {
                actors.spawns.handle_spawn(cx, spawn, &mut actors.bonds, effects);
            });
        }
    }

    /// A zhost is gone, or started anew, or has given up on us: what was under way with its earlier starts ends.
    pub(super) fn lose_zhost(
        &mut self,
        now: Instant,
        peer: ZhostId,
        alive: Option<Generation>,
        to_be_told: bool,
    ) {
        self.run_actors(now, |actors, cx, effects| {
            actors.lose_zhost(cx, peer, alive, to_be_told, effects);
        });
        self.run(now, Part::Data, |node, _| {
            node.replicas.lose_zhost(now, peer);
            node.copies.forget_primary(peer);
        });
    }

    /// Has the data of spaces that run here take something in.
    pub(crate) fn run_replicas<T: Default>(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Replicas, &mut Here<'_>) -> T,
    ) -> T {
        self.run(now, Part::Data, |node, effects| {
            work(&mut node.replicas, &mut Here { now, facts: &node.facts, host: &node.host, effects })
        })
    }

    /// Has the data of spaces that run elsewhere take something in.
    pub(crate) fn run_copies(
        &mut self,
        now: Instant,
        work: impl FnOnce(&mut Copies, &mut Here<'_>, &Disposal),
    ) {
        self.run(now, Part::Data, |node, effects| {
            let mut here = Here { now, facts: &node.facts, host: &node.host, effects };
            work(&mut node.copies, &mut here, &node.disposal);
        });
    }

    fn send_order(&mut self, now: Instant, to: ZhostId, key: SpaceKey, parts: Vec<DataMessage>) {
        let mut parts = parts.into_iter();
        let is_refused = parts.any(|part| !self.send(now, to, &Frame::Data(key.clone(), part)));
        if is_refused {
            self.run(now, Part::Data, |node, _| node.replicas.handle_unsent(now, &key, to));
        }
    }

    /// Takes up what the ledger says of data here.
    pub(crate) fn refresh_disposal(&mut self, now: Instant) {
        self.run(now, Part::Data, |node, effects| {
            let going = node.disposal.refresh(&node.facts, &node.host, effects);
            node.copies.forget_sessions(|key| going.iter().any(|waste| waste.covers(key)));
        });
    }

    /// Data is off the flash, or the flash refused.
    pub(crate) fn handle_disposed(
        &mut self,
        now: Instant,
        waste: Waste,
        result: Result<DiskReply, StoreError>,
    ) {
        let is_gone = self.run(now, Part::Data, |node, effects| {
            node.disposal.handle_disposed(&node.facts, waste, result, effects)
        });
        if !is_gone {
            self.reconcile_spaces(now);
        }
    }

    /// It is on flash to which life the data here belongs, or the flash refused.
    pub(crate) fn handle_life_noted(
        &mut self,
        now: Instant,
        waste: &Waste,
        life: Option<DataLife>,
        is_noted: bool,
    ) {
        self.run(now, Part::Data, |node, _| {
            node.disposal.handle_life_noted(waste, life, is_noted);
            if let (Waste::Topology(id), true) = (waste, is_noted) {
                node.copies.forget_versions(*id);
            }
        });
        if !is_noted {
            return;
        }
        self.refresh_disposal(now);
        self.reconcile_spaces(now);
    }

    /// Has what the blobs take in judged by what is needed here.
    fn run_blobs(&mut self, now: Instant, work: impl FnOnce(&mut Blobs, &Facts, &Needs<'_>, &mut Effects)) {
        self.run(now, Part::Data, |node, effects| {
            let (facts, mesh) = (&node.facts, &node.mesh);
            let needs = Needs {
                spawned: node.actors.spawns.topologies_needed().collect(),
                firmware: node.firmware.needed(facts),
                submitted: node.commands.blobs().collect(),
                distance_us: &|peer| mesh.distance_us(facts, peer),
            };
            work(&mut node.blobs, facts, &needs, effects);
        });
    }

    /// Pulls the blobs that are needed here and missing, and lets go of the others.
    pub(crate) fn refresh_blobs(&mut self, now: Instant) {
        self.run_blobs(now, |blobs, facts, needs, effects| blobs.refresh(now, facts, needs, effects));
    }

    pub(super) fn blobs_timeout(&mut self, now: Instant) {
        // What is needed is found out only if it matters: this is on the way of every message.
        if self.blobs.poll_timeout().is_none_or(|(due, _)| due > now) {
            return;
        }
        self.run_blobs(now, |blobs, facts, needs, effects| blobs.handle_timeout(now, facts, needs, effects));
    }

    /// A piece of a blob is on flash, or could not be written.
    pub(crate) fn handle_blob_piece_written(
        &mut self,
        now: Instant,
        digest: BlobDigest,
        last: bool,
        written: bool,
    ) {
        let is_submitted = self.commands.blobs().any(|submitted| submitted == digest);
        let is_complete = self.run(now, Part::Data, |node, effects| {
            node.blobs.handle_piece_written(now, (digest, last), written, is_submitted, effects)
        });
        if is_complete {
            self.resume_spawns(now);
        }
    }

    /// A blob that an operator brought is on our flash in full.
    pub(crate) fn complete_blob(&mut self, now: Instant, digest: BlobDigest, size_bytes: u32) {
        self.run(now, Part::Data, |node, effects| node.blobs.complete(digest, size_bytes, effects));
        self.resume_spawns(now);
    }
}
