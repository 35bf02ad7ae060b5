//! All interleavings of two sides of a ring, at the granularity of single loads and stores.
//!
//! Each side is a coroutine that asks for every access. A store goes into a buffer of its side's, from where it reaches memory at
//! any later moment and in any order, but for these: stores to one place stay in order, a write barrier stands between those
//! before and those after it, and a full barrier and a doorbell wait until the buffer is empty. A side sees its own stores at
//! once.
//!
//! States that were seen before are not gone into again. A state is memory, buffers, doorbells, and what each side is: its own
//! account of itself at the last checkpoint, and all that it has read since.

use corosensei::{stack::DefaultStack, Coroutine, CoroutineResult, Yielder};
use kernel::error::{
    code::{EINTR, EINVAL},
    Result,
};
use virtio_ring::ring::Memory;

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

/// What a side asks for.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Request {
    Load(usize, usize),
    Store(usize, Vec<u8>),
    WriteBarrier,
    FullBarrier,
    /// Rings the other side's doorbell.
    Ring,
    /// Waits for its own.
    Wait,
    /// Offers an account of itself.
    Checkpoint,
    /// Gives it.
    Account(u64),
}

/// What it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Done,
    Value(u32),
    /// The account is wanted.
    Describe,
    /// This life is over: return at once.
    Over,
}

/// Barriers that are left out, to see that they are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Without {
    /// Full barriers of this side's phase.
    pub(crate) full: Option<(usize, Phase)>,
    /// Write barriers of a side.
    pub(crate) write: Option<usize>,
}

/// What a side does when it asks for a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It gives something to the other side and asks whether to notify it.
    Give,
    /// It asks to be notified and looks once more.
    Listen,
}

/// A side's way to memory, or to a part of it.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    yielder: &'a Yielder<Reply, Request>,
    phase: &'a Cell<Phase>,
    me: usize,
    without: Without,
    base: usize,
    size: usize,
}

impl Side<'_> {
    pub(crate) fn part(self, base: usize, size: usize) -> Self {
        Self {
            base: self.base + base,
            size,
            ..self
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }

    pub(crate) fn ring(&self) {
        self.yielder.suspend(Request::Ring);
    }

    /// `false` if it is over.
    pub(crate) fn wait(&self) -> bool {
        !matches!(self.yielder.suspend(Request::Wait), Reply::Over)
    }

    /// What the side is from now on depends on `all` and on what it reads, and on nothing before.
    pub(crate) fn checkpoint(&self, all: impl Debug) {
        if matches!(self.yielder.suspend(Request::Checkpoint), Reply::Describe) {
            let mut hasher = DefaultHasher::new();
            format!("{all:?}").hash(&mut hasher);
            self.yielder.suspend(Request::Account(hasher.finish()));
        }
    }

    fn load(&self, at: usize, width: usize) -> Result<u32> {
        if at + width > self.size {
            return Err(EINVAL);
        }
        match self.yielder.suspend(Request::Load(self.base + at, width)) {
            Reply::Value(value) => Ok(value),
            _ => Err(EINTR),
        }
    }

    fn store(&self, at: usize, bytes: &[u8]) -> Result {
        if at + bytes.len() > self.size {
            return Err(EINVAL);
        }
        match self
            .yielder
            .suspend(Request::Store(self.base + at, bytes.to_vec()))
        {
            Reply::Over => Err(EINTR),
            _ => Ok(()),
        }
    }
}

impl Debug for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)
    }
}

impl Memory for Side<'_> {
    fn address(&self) -> u64 {
        self.base as u64
    }

    fn size(&self) -> usize {
        self.size
    }

    fn read16(&self, at: usize) -> Result<u16> {
        self.load(at, 2).map(|value| value as u16)
    }

    fn read32(&self, at: usize) -> Result<u32> {
        self.load(at, 4)
    }

    fn write16(&self, at: usize, value: u16) -> Result {
        self.store(at, &value.to_le_bytes())
    }

    fn write_bytes(&self, at: usize, bytes: &[u8]) -> Result {
        let mut at = at;
        for piece in bytes.chunks(8) {
            self.store(at, piece)?;
            at += piece.len();
        }
        Ok(())
    }

    fn write_barrier(&self) {
        if self.without.write != Some(self.me) {
            self.yielder.suspend(Request::WriteBarrier);
        }
    }

    /// Loads are made in order here.
    fn read_barrier(&self) {}

    fn full_barrier(&self) {
        if self.without.full != Some((self.me, self.phase.get())) {
            self.yielder.suspend(Request::FullBarrier);
        }
    }
}

/// A store that did not reach memory.
#[derive(Clone, Hash)]
struct Pending {
    at: usize,
    bytes: Vec<u8>,
    /// How many write barriers came before.
    epoch: u32,
}

impl Pending {
    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.at + other.bytes.len() && other.at < self.at + self.bytes.len()
    }
}

/// A side as the scheduler sees it.
struct Agent {
    coroutine: Coroutine<Reply, Request, (), DefaultStack>,
    /// What it asks for; nothing when it has finished.
    asks: Option<Request>,
    /// What it is, as a hash.
    history: u64,
    /// It is told the way to a state that is known.
    replays: bool,
    buffer: Vec<Pending>,
    epoch: u32,
    doorbell: bool,
}

impl Agent {
    /// Lets it go on until it asks for something that the other side may notice.
    fn resume(&mut self, reply: Reply) {
        let mut reply = reply;
        loop {
            let CoroutineResult::Yield(request) = self.coroutine.resume(reply) else {
                self.asks = None;
                return;
            };
            match request {
                Request::Store(at, bytes) => self.buffer.push(Pending {
                    at,
                    bytes,
                    epoch: self.epoch,
                }),
                Request::WriteBarrier => self.epoch += 1,
                Request::FullBarrier if self.buffer.is_empty() => {}
                Request::Checkpoint if !self.replays => {
                    reply = Reply::Describe;
                    continue;
                }
                Request::Checkpoint => {}
                Request::Account(account) => self.history = account,
                _ => {
                    self.asks = Some(request);
                    return;
                }
            }
            reply = Reply::Done;
        }
    }

    fn note(&mut self, seen: u32) {
        let mut hasher = DefaultHasher::new();
        (self.history, seen).hash(&mut hasher);
        self.history = hasher.finish();
    }

    fn finish(&mut self) {
        while self.asks.is_some() && !self.coroutine.done() {
            if let CoroutineResult::Return(()) = self.coroutine.resume(Reply::Over) {
                break;
            }
        }
    }

    fn load(&self, memory: &[u8], at: usize, width: usize) -> u32 {
        let mut bytes = [0; 4];
        for (index, byte) in bytes[..width].iter_mut().enumerate() {
            let place = at + index;
            let own = self
                .buffer
                .iter()
                .rev()
                .find(|one| (one.at..one.at + one.bytes.len()).contains(&place));
            *byte = own.map_or(memory[place], |one| one.bytes[place - one.at]);
        }
        u32::from_le_bytes(bytes)
    }

    /// Whether a store may reach memory next.
    fn drains(&self, index: usize) -> bool {
        let one = &self.buffer[index];
        self.buffer[..index]
            .iter()
            .all(|earlier| earlier.epoch == one.epoch && !earlier.overlaps(one))
    }
}

/// Something that may happen next.
#[derive(Clone, Copy)]
enum Step {
    Side(usize),
    Drain(usize, usize),
}

struct World {
    memory: Vec<u8>,
    agents: [Agent; 2],
}

impl World {
    fn steps(&self, into: &mut Vec<Step>) {
        into.clear();
        for (side, agent) in self.agents.iter().enumerate() {
            let ready = match &agent.asks {
                Some(Request::Load(..)) => true,
                Some(Request::FullBarrier | Request::Ring) => agent.buffer.is_empty(),
                Some(Request::Wait) => agent.doorbell,
                _ => false,
            };
            if ready {
                into.push(Step::Side(side));
            }
            let drains = (0..agent.buffer.len()).filter(|index| agent.drains(*index));
            into.extend(drains.map(|index| Step::Drain(side, index)));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Drain(side, index) => {
                let one = self.agents[side].buffer.remove(index);
                self.memory[one.at..one.at + one.bytes.len()].copy_from_slice(&one.bytes);
            }
            Step::Side(side) => {
                let agent = &mut self.agents[side];
                let reply = match agent.asks {
                    Some(Request::Load(at, width)) => {
                        let value = agent.load(&self.memory, at, width);
                        agent.note(value);
                        Reply::Value(value)
                    }
                    _ => {
                        agent.note(0);
                        Reply::Done
                    }
                };
                if agent.asks == Some(Request::Wait) {
                    agent.doorbell = false;
                }
                if agent.asks == Some(Request::Ring) {
                    self.agents[1 - side].doorbell = true;
                }
                self.agents[side].resume(reply);
            }
        }
    }

    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.memory.hash(&mut hasher);
        for agent in &self.agents {
            agent.history.hash(&mut hasher);
            agent.asks.hash(&mut hasher);
            agent.doorbell.hash(&mut hasher);
            let first = agent.buffer.first().map_or(0, |one| one.epoch);
            for one in &agent.buffer {
                (one.at, &one.bytes, one.epoch - first).hash(&mut hasher);
            }
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every way ends well.
    Right {
        /// How many states there are.
        states: usize,
        /// How many ways were gone to see them.
        lives: usize,
    },
    /// Both sides wait for each other.
    Stuck,
    /// A side failed.
    Failed(String),
}

/// The program of a side.
pub(crate) type Program = Rc<dyn Fn(Side<'_>)>;

fn agent(
    program: &Program,
    me: usize,
    size: usize,
    without: Without,
    stack: DefaultStack,
) -> Agent {
    let program = program.clone();
    let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<Reply, Request>, _| {
        let phase = Cell::new(Phase::Give);
        program(Side {
            yielder,
            phase: &phase,
            me,
            without,
            base: 0,
            size,
        });
    });
    Agent {
        coroutine,
        asks: Some(Request::Wait),
        history: 0,
        replays: true,
        buffer: Vec::new(),
        epoch: 0,
        doorbell: false,
    }
}

/// Goes all ways of two sides in a memory of so many bytes, zeroed. The first must come to its end; the second may wait for ever.
pub(crate) fn explore(programs: &[Program; 2], size: usize, without: Without) -> Outcome {
    let mut seen = HashSet::new();
    // The way to a state, by the choices made, and what the sides were before the last one.
    let mut todo: Vec<(Vec<u8>, [u64; 2])> = vec![(Vec::new(), [0; 2])];
    let mut stacks: Vec<DefaultStack> = Vec::new();
    let mut steps = Vec::new();
    let mut lives = 0;
    while let Some((mut path, histories)) = todo.pop() {
        lives += 1;
        let mut stack = || {
            stacks
                .pop()
                .unwrap_or_else(|| DefaultStack::new(128 << 10).unwrap())
        };
        let first = agent(&programs[0], 0, size, without, stack());
        let second = agent(&programs[1], 1, size, without, stack());
        let mut world = World {
            memory: vec![0; size],
            agents: [first, second],
        };
        let known = path.len();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            world
                .agents
                .iter_mut()
                .for_each(|agent| agent.resume(Reply::Done));
            let mut at = 0;
            loop {
                world.steps(&mut steps);
                if steps.is_empty() {
                    return world.agents[0].asks.is_none();
                }
                // From the last choice of a known way on everything is new.
                if at + 1 == known || (at, known) == (0, 0) {
                    for (agent, history) in world.agents.iter_mut().zip(histories) {
                        (agent.history, agent.replays) = (history, false);
                    }
                }
                if at == path.len() {
                    if !seen.insert(world.key()) {
                        return true;
                    }
                    let histories = [0, 1].map(|side: usize| world.agents[side].history);
                    for other in 1..steps.len() {
                        let mut path = path.clone();
                        path.push(other as u8);
                        todo.push((path, histories));
                    }
                    path.push(0);
                }
                world.take(steps[usize::from(path[at])]);
                at += 1;
            }
        }));
        match ended {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                return Outcome::Failed(text.unwrap_or_default());
            }
            Ok(false) => {
                world.agents.iter_mut().for_each(Agent::finish);
                return Outcome::Stuck;
            }
            Ok(true) => {}
        }
        for mut agent in world.agents {
            agent.finish();
            stacks.push(agent.coroutine.into_stack());
        }
    }
    Outcome::Right {
        states: seen.len(),
        lives,
    }
}
