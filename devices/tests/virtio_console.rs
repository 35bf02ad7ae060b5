//! The console device: data each way with one port and with several, and the conversation on the control queues.

mod board;
mod rig;

use bringup_devices::Notices;
use bringup_devices::virtio::{
    Console, ConsoleOptions, ConsolePort, Echo, Files, NoTerminal, PortBackend, Terminal, VirtioPci,
};
use bringup_spec::virtio::console::{config, control, feature, queue};
use bringup_spec::virtio::feature as ring_feature;
use bringup_spec::virtio::pci::isr;
use rig::{BASIC, Buffer, PACKED, Rig, Ring};

const SIZE: u128 = 1 << feature::SIZE;
const MULTIPORT: u128 = 1 << feature::MULTIPORT;
const EMERGENCY: u128 = 1 << feature::EMERG_WRITE;

fn rig(console: Console) -> Rig {
    Rig::new(VirtioPci::new(console).offer(ring_feature::RING_PACKED, true))
}

/// One port, and its queues.
fn single(backend: impl PortBackend + 'static, features: u128) -> (Rig, Ring, Ring) {
    let mut rig = rig(Console::single(backend));
    assert!(rig.negotiate(BASIC | features));
    let (rx, tx) = (rig.queue(queue::RX0, 4), rig.queue(queue::TX0, 4));
    rig.driver_ok();
    (rig, rx, tx)
}

#[test]
fn bytes_go_to_the_terminal_and_come_from_it_in_both_layouts() {
    for features in [0, PACKED] {
        let terminal = Terminal::default();
        let (mut rig, mut rx, mut tx) = single(terminal.clone(), features);
        let chain = [rig.out(b"hel"), rig.out(b"lo")];
        assert_eq!(rig.transact(&mut tx, &chain), 0);
        assert_eq!(terminal.take_shown(), b"hello");
        terminal.type_in(b"typed before there was a buffer");
        rig.run();
        let rooms = [rig.room(10), rig.room(100)];
        let lengths = rooms.map(|room| rig.transact(&mut rx, &[room]));
        assert_eq!(lengths, [10, 21]);
        assert_eq!(
            [rig.bytes(rooms[0]), rig.bytes(rooms[1])[..21].to_vec()].concat(),
            b"typed before there was a buffer"
        );
    }
}

#[test]
fn buffer_waits_for_input_and_input_wakes_the_device() {
    let terminal = Terminal::default();
    let (mut rig, mut rx, _tx) = single(terminal.clone(), 0);
    let room = rig.room(10);
    rx.add(&mut rig.board, &[room]);
    rig.kick(&rx);
    rig.run();
    assert_eq!(rx.take(&rig.board), None);
    terminal.type_in(b"now");
    rig.run();
    assert_eq!(rx.take(&rig.board).map(|(_, len)| len), Some(3));
}

#[test]
fn echo_brings_everything_back_though_it_holds_less() {
    let (mut rig, mut rx, mut tx) = single(Echo::new(100), 0);
    let long: Vec<u8> = (0..1000).map(|index| index as u8).collect();
    let out = rig.out(&long);
    tx.add(&mut rig.board, &[out]);
    rig.kick(&tx);
    rig.run();
    assert_eq!(tx.take(&rig.board), None, "what has no room waits");
    let mut got: Vec<u8> = Vec::new();
    while got.len() < 1000 {
        let room = rig.room(70);
        let len = rig.transact(&mut rx, &[room]);
        got.extend(&rig.bytes(room)[..len as usize]);
    }
    assert_eq!(got, long);
    assert!(tx.take(&rig.board).is_some());
}

#[test]
fn size_and_emergency_write_are_in_the_configuration() {
    let terminal = Terminal::default();
    let console = Console::single(terminal.clone());
    let hand = console.hand();
    let mut rig = rig(console);
    rig.set_config(config::EMERG_WR, 4, u64::from(b'!'));
    assert_eq!(terminal.take_shown(), b"!", "before anything was negotiated");
    assert!(rig.negotiate(BASIC | SIZE | EMERGENCY));
    assert_eq!((rig.config(config::COLS, 2), rig.config(config::ROWS, 2)), (80, 25));
    rig.driver_ok();
    hand.resize(132, 43);
    rig.run();
    assert_eq!((rig.config(config::COLS, 2), rig.config(config::ROWS, 2), rig.isr()), (132, 43, isr::CONFIG));
    rig.set_config(config::EMERG_WR, 1, u64::from(b'?'));
    rig.set_config(config::COLS, 2, 1);
    assert_eq!((terminal.take_shown(), rig.config(config::COLS, 2)), (b"?".to_vec(), 132));
}

/// Three ports: a console and two more.
struct Ports {
    rig: Rig,
    rings: Vec<Ring>,
    rooms: Vec<(u16, Buffer)>,
    terminals: [Terminal; 3],
    hand: bringup_devices::virtio::ConsoleHand,
}

impl Ports {
    fn new(features: u128) -> Self {
        let terminals: [Terminal; 3] = Default::default();
        let port = |(index, terminal): (usize, &Terminal)| ConsolePort {
            name: if index == 1 { "org.example.one".into() } else { String::new() },
            is_console: index == 0,
            backend: Box::new(terminal.clone()),
        };
        let ports = terminals.iter().enumerate().map(port).collect();
        let console = Console::new(ConsoleOptions {
            ports,
            multiport: true,
            size: Some((80, 25)),
            emergency_write: true,
            queue_size: 16,
        });
        let hand = console.hand();
        let mut rig = rig(console);
        assert!(rig.negotiate(BASIC | MULTIPORT | features));
        let rings = (0..8).map(|index| rig.queue(index, 16)).collect();
        rig.driver_ok();
        let mut this = Self { rig, rings, rooms: Vec::new(), terminals, hand };
        this.listen();
        this
    }

    /// Gives as many buffers for messages as the ring holds.
    fn listen(&mut self) {
        for _ in self.rooms.len()..16 {
            let room = self.rig.room(64);
            let id = self.rings[usize::from(queue::CONTROL_RX)].add(&mut self.rig.board, &[room]);
            self.rooms.push((id, room));
        }
        self.rig.kick(&self.rings[usize::from(queue::CONTROL_RX)]);
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let out = self.rig.out(&[&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat());
        self.rig.transact(&mut self.rings[usize::from(queue::CONTROL_TX)], &[out]);
    }

    /// What the device said: port, event, value, more.
    fn heard(&mut self) -> Vec<(u8, u16, u16, Vec<u8>)> {
        let taken = self.rings[usize::from(queue::CONTROL_RX)].take_all(&self.rig.board);
        taken
            .into_iter()
            .map(|(id, len)| {
                let at = self.rooms.iter().position(|(given, _)| *given == id).unwrap();
                let (_, room) = self.rooms.remove(at);
                let bytes = self.rig.bytes(room)[..len as usize].to_vec();
                (
                    bytes[0],
                    u16::from_le_bytes([bytes[4], bytes[5]]),
                    u16::from_le_bytes([bytes[6], bytes[7]]),
                    bytes[8..].to_vec(),
                )
            })
            .collect()
    }
}

#[test]
fn ports_are_told_of_when_the_driver_is_ready() {
    let mut ports = Ports::new(SIZE);
    assert_eq!(ports.rig.config(config::MAX_NR_PORTS, 4), 3);
    assert_eq!(ports.heard(), []);
    ports.say(0, control::DEVICE_READY, 1);
    assert_eq!(ports.heard(), [0, 1, 2].map(|port| (port, control::DEVICE_ADD, 1, vec![])));
    ports.say(0, control::DEVICE_READY, 1);
    assert_eq!(ports.heard(), [], "a port is added once");
    ports.say(0, control::PORT_READY, 1);
    let expected = [
        (0, control::CONSOLE_PORT, 1, vec![]),
        (0, control::RESIZE, 1, vec![80, 0, 25, 0]),
        (0, control::PORT_OPEN, 1, vec![]),
    ];
    assert_eq!(ports.heard(), expected);
    ports.say(1, control::PORT_READY, 1);
    let name = b"org.example.one".to_vec();
    assert_eq!(ports.heard(), [(1, control::PORT_NAME, 1, name), (1, control::PORT_OPEN, 1, vec![])]);
}

#[test]
fn port_gets_input_when_the_driver_opened_it() {
    let mut ports = Ports::new(0);
    ports.say(0, control::DEVICE_READY, 1);
    ports.terminals[1].type_in(b"for one");
    let (rx, tx) = (4, 5);
    let room = ports.rig.room(10);
    ports.rings[rx].add(&mut ports.rig.board, &[room]);
    ports.say(1, control::PORT_READY, 1);
    assert_eq!(ports.rings[rx].take(&ports.rig.board), None);
    ports.say(1, control::PORT_OPEN, 1);
    assert_eq!(ports.rings[rx].take(&ports.rig.board).map(|(_, len)| len), Some(7));
    let out = ports.rig.out(b"from one");
    ports.rig.transact(&mut ports.rings[tx], &[out]);
    assert_eq!(ports.terminals[1].take_shown(), b"from one");
    assert_eq!(ports.terminals[0].take_shown(), b"");
}

#[test]
fn messages_wait_for_buffers_and_none_is_lost() {
    let mut ports = Ports::new(0);
    ports.say(0, control::DEVICE_READY, 1);
    ports.heard();
    for _ in 0..30 {
        ports.say(0, control::PORT_READY, 1);
    }
    let mut heard = ports.heard();
    for _ in 0..4 {
        ports.listen();
        ports.rig.run();
        heard.extend(ports.heard());
    }
    assert_eq!(heard.iter().filter(|(_, event, ..)| *event == control::PORT_OPEN).count(), 30);
    assert_eq!(heard.len(), 60);
}

#[test]
fn nonsense_on_the_control_queue_is_ignored() {
    let mut ports = Ports::new(0);
    for (port, event, value) in
        [(99, control::PORT_READY, 1), (u32::MAX, control::PORT_OPEN, 1), (0, 77, 1), (1, control::PORT_READY, 0)]
    {
        ports.say(port, event, value);
    }
    let short = ports.rig.out(&[0; 7]);
    ports.rig.transact(&mut ports.rings[3], &[short]);
    assert_eq!(ports.heard(), []);
}

#[test]
fn resizing_and_removing_are_told_by_messages() {
    let mut ports = Ports::new(SIZE);
    ports.say(0, control::DEVICE_READY, 1);
    ports.say(0, control::PORT_READY, 1);
    ports.heard();
    ports.hand.resize(100, 50);
    ports.hand.remove(2);
    ports.rig.board.bus.work(ports.rig.board.device);
    assert_eq!(ports.heard(), [(0, control::RESIZE, 1, vec![100, 0, 50, 0]), (2, control::DEVICE_REMOVE, 1, vec![])]);
}

#[test]
fn files_are_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::write(&input, b"from a file").unwrap();
    let files = Files::open(Some(&input), Some(&output), Notices::default()).unwrap();
    let (mut rig, mut rx, mut tx) = single(files, 0);
    let (room, out) = (rig.room(100), rig.out(b"to a file"));
    assert_eq!(rig.transact(&mut rx, &[room]), 11);
    rig.transact(&mut tx, &[out]);
    assert_eq!(std::fs::read(output).unwrap(), b"to a file");
    let missing = Files::open(Some(&directory.path().join("none")), None, Notices::default()).unwrap_err();
    assert!(missing.ends_with("none: No such file or directory"));
}

#[test]
fn without_multiport_there_is_one_port_and_two_queues_work() {
    let port = || ConsolePort { name: String::new(), is_console: true, backend: Box::new(NoTerminal) };
    let options = ConsoleOptions {
        ports: vec![port(), port()],
        multiport: false,
        size: None,
        emergency_write: false,
        queue_size: 4,
    };
    let mut rig = rig(Console::new(options));
    assert_eq!(rig.get(bringup_spec::virtio::pci::common::NUM_QUEUES, 2), 2);
    assert_eq!(rig.offered() & (SIZE | MULTIPORT | EMERGENCY), 0);
}
