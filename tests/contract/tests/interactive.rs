//! `wskctl`'s commands that hold a connection, as processes: their standard streams, Ctrl-C, terminals, real peers.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{PATIENCE, eventually, traffic::unused_address};
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};
use wskctl::peer::host_address;

/// `wskctl`, in the lab.
fn wskctl() -> Command {
    let program = env::var_os("WSKCTL").expect("WSKCTL names no wskctl: run `cargo lab test`, which builds one");
    let mut command = Command::new(program);
    command.args(["--backend", "lab"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with that on its standard input.
fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = wskctl().args(arguments).spawn().expect("wskctl starts");
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    let writer = thread::spawn(move || {
        // A command that ends early closes its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("wskctl ends");
    writer.join().expect("the writer ends");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A command that listens, and where.
fn listening(command: &str, more: &[&str]) -> (Child, SocketAddr, BufReader<Box<dyn Read + Send>>) {
    let address = host_address(unused_address());
    let mut child = wskctl()
        .args(["--format", "json", command])
        .args(more)
        .args([address.ip().to_string(), address.port().to_string()])
        .spawn()
        .expect("wskctl starts");
    // Where standard output is the connection's, events go to standard error.
    let events: Box<dyn Read + Send> = match command {
        "listen" => Box::new(child.stderr.take().expect("a pipe")),
        _ => Box::new(child.stdout.take().expect("a pipe")),
    };
    let mut events = BufReader::new(events);
    let mut line = String::new();
    events.read_line(&mut line).expect("an event");
    assert!(line.contains("listening"), "{line}");
    (child, address, events)
}

/// A peer program's socket for datagrams.
fn datagrams() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn objects(bytes: &[u8]) -> Vec<serde_json::Value> {
    text(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap()).collect()
}

#[test]
fn connect_sends_its_input_ends_it_and_then_receives_to_the_peers_end() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let peer = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(format!("got {} bytes", all.len()).as_bytes()).unwrap();
        all
    });
    let data = pattern(8 << 20);
    let output = run(&["connect", "127.0.0.1", &port], &data);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "got 8388608 bytes");
    assert!(peer.join().unwrap() == data, "every byte arrives, in order");
}

#[test]
fn listen_writes_what_comes_and_keeps_open_until_ctrl_c() {
    let (mut child, address, _events) = listening("listen", &["--keep-open"]);
    drop(child.stdin.take());
    let mut output = child.stdout.take().unwrap();
    for length in [1, 300_000] {
        let data = pattern(length);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&data).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = vec![0; length];
        output.read_exact(&mut got).unwrap();
        assert!(got == data);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "the end comes back");
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_connection_that_nobody_reads_any_more_ends_without_a_word() {
    let (mut child, address, _events) = listening("listen", &[]);
    drop(child.stdout.take());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"nobody reads this").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_a_connection_with_requests_pending_and_leaves_nothing() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let child = wskctl().args(["connect", "127.0.0.1", &port]).spawn().unwrap();
    let (mut stream, _) = server.accept().unwrap();
    interrupt(&child);
    // The lab's rules are asked at the end: exit code 6 would tell of a leak.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(stream.read(&mut [0; 8]).map_or(true, |length| length == 0), "the peer sees the end");
}

#[test]
fn a_refused_connection_says_what_failed_and_what_to_try() {
    let port = wskctl::peer::free_port().unwrap().to_string();
    let output = run(&["connect", "127.0.0.1", &port], b"");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("WSAECONNREFUSED (10061)") && told.contains("try: nothing listens there"), "{told}");
}

#[test]
fn of_a_names_addresses_the_one_that_answers_is_taken() {
    // The lab's localhost is ::1 first, where nothing listens.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let peer = thread::spawn(move || {
        let mut all = String::new();
        server.accept().unwrap().0.read_to_string(&mut all).unwrap();
        all
    });
    let output = run(&["connect", "-v", "localhost", &port], b"by name");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(&format!("connected to 127.0.0.1:{port}")));
    assert_eq!(peer.join().unwrap(), "by name");
    let output = run(&["connect", "-6", "localhost", &port], b"");
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("connect to [::1]:"));
}

#[test]
fn where_standard_output_is_the_connections_objects_and_errors_go_to_standard_error() {
    let port = wskctl::peer::free_port().unwrap().to_string();
    let output = run(&["--format", "json", "connect", "127.0.0.1", &port], b"");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let told = objects(&output.stderr);
    assert_eq!((&told[0]["event"], &told[0]["winsock"], told.len()), (&"error".into(), &10061.into(), 1));
}

#[test]
fn a_time_in_which_nothing_comes_ends_a_wait_for_a_peer_and_an_idle_connection() {
    let output = run(&["listen", "--wait", "0.1", "127.0.0.1", "0"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("accept: nothing came within 0.1 s"), "{}", text(&output.stderr));

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let output = run(&["connect", "--wait", "0.1", "127.0.0.1", &port], b"said");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut said = [0; 4];
    server.accept().unwrap().0.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"said");
}

#[test]
fn connect_sends_datagrams_and_writes_those_that_come_back() {
    let peer = datagrams();
    let port = peer.local_addr().unwrap().port().to_string();
    let answering = thread::spawn(move || {
        let mut data = [0; 2000];
        let mut got = Vec::new();
        while got.len() < 3000 {
            let (length, from) = peer.recv_from(&mut data).unwrap();
            got.extend_from_slice(&data[..length]);
            peer.send_to(b".", from).unwrap();
        }
        got
    });
    let data = pattern(3000);
    let output = run(&["connect", "-u", "--wait", "0.5", "-v", "127.0.0.1", &port], &data);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(answering.join().unwrap() == data, "each datagram arrives whole");
    assert_eq!(text(&output.stdout), "...", "of 1400, 1400 and 200 bytes");
    assert!(text(&output.stderr).contains("ended: 3000 bytes sent, 3 received"));
}

#[test]
fn listen_takes_datagrams_of_the_first_that_sends_one_and_keeps_open_for_all() {
    for (more, heard) in [(&["-u"][..], "one"), (&["-u", "--keep-open"], "onetwo")] {
        let (mut child, address, _events) = listening("listen", more);
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        let (first, second) = (datagrams(), datagrams());
        first.send_to(b"one", address).unwrap();
        let mut data = [0; 16];
        let (length, from) = first.recv_from(&mut data).unwrap();
        assert_eq!((&data[..length], from), (&b"hello"[..], address), "the input goes to whoever sent");
        second.send_to(b"two", address).unwrap();
        thread::sleep(Duration::from_millis(100));
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(text(&output.stdout), heard, "{more:?}");
    }
}

#[test]
fn echo_sends_datagrams_back_to_where_they_came_from() {
    let (child, address, mut events) = listening("echo", &["-u", "--datagrams", "40"]);
    let peers = [datagrams(), datagrams()];
    for round in 0..20_u8 {
        for (number, peer) in (0..).zip(&peers) {
            peer.send_to(&[round, number], address).unwrap();
            let mut data = [0; 16];
            let length = peer.recv(&mut data).unwrap();
            assert_eq!(&data[..length], [round, number]);
        }
    }
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    let summary: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["datagrams"], &summary["bytes"]), (&40.into(), &80.into()));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn resolve_tells_the_addresses_of_a_name_and_the_name_of_an_address() {
    let output = run(&["resolve", "localhost", "http"], b"");
    assert_eq!(text(&output.stdout), "::1  port 80\n127.0.0.1  port 80\n");
    let told = objects(&run(&["--format", "json", "resolve", "-4", "localhost"], b"").stdout);
    assert_eq!(told, [serde_json::json!({"event": "address", "address": "127.0.0.1", "port": 0, "protocol": "tcp"})]);
    assert_eq!(text(&run(&["resolve", "127.0.0.1", "80"], b"").stdout), "127.0.0.1  localhost  http\n");
    let output = run(&["resolve", "no-such-host"], b"");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("look no-such-host up: WSAHOST_NOT_FOUND (11001)") && told.contains("try: "), "{told}");
}

#[test]
fn echo_serves_many_at_a_time_and_ends_well_at_ctrl_c() {
    let (child, address, mut events) = listening("echo", &[]);
    let clients: Vec<_> = (0..8_usize).map(|_| TcpStream::connect(address).unwrap()).collect();
    thread::scope(|scope| {
        for (index, mut stream) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let data = pattern(100_000 + index);
                let mut reader = stream.try_clone().unwrap();
                let length = data.len();
                let echoed = scope_read(&mut reader, length);
                stream.write_all(&data).unwrap();
                assert!(echoed.join().unwrap() == data, "client {index}");
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
            });
        }
    });
    interrupt(&child);
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    let summary: serde_json::Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["event"], &summary["connections"]), (&"summary".into(), &8.into()));
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

fn scope_read(stream: &mut TcpStream, length: usize) -> thread::JoinHandle<Vec<u8>> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        let mut data = vec![0; length];
        stream.read_exact(&mut data).unwrap();
        data
    })
}

#[test]
fn a_shell_script_does_its_lines_and_fails_for_those_that_fail() {
    let address = host_address(unused_address());
    let script = format!(
        "startup application 2.2\nsocket listen\nlisten {address}\naccept &\nsocket\nconnect {address}\nwait 1\n\
         send s2 \"to the other\"\nrecv s3 12 all\nrecv s3 &\ncancel 2\nrecv s3 &\ncleanup\n"
    );
    let output = run(&["--format", "json", "shell"], script.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let events: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = events.iter().filter_map(|event| event["outcome"].as_str()).collect();
    assert!(outcomes.contains(&r#"12 bytes "to the other""#), "{outcomes:?}");
    let aborted = outcomes.iter().filter(|outcome| outcome.contains("WSA_OPERATION_ABORTED")).count();
    assert_eq!(aborted, 2, "the one that was cancelled, and the one that the last cleanup found: {outcomes:?}");

    let output = run(&["shell"], b"startup aplication\n\ncleanup\n# a remark\nexit\nnever read\n");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("line 1") && told.contains("did you mean `application`?"), "{told}");
    assert!(told.contains("line 3") && told.contains("WSANOTINITIALISED (10093)"), "{told}");
    assert!(!told.contains("never"), "{told}");
}

#[test]
fn the_shell_makes_every_kind_of_request() {
    let (one, two) = (host_address(unused_address()), datagrams().local_addr().unwrap());
    let script = format!(
        "startup namespace\nresolve localhost 80\nnames 127.0.0.1:80\nstartup application 1.1\nsocket listen\nlisten {one}\n\
         events s1 accept &\nsocket\nconnect {one}\nwait 1\naccept s1\noption s2 TCP_NODELAY on\noption s2 TCP_NODELAY\noption s2 SO_LINGER 5\n\
         option s2 so_linger\nsend s2 \"a\\r\\n\"\nevents s3 read\ncontrol s3 fionread\nrecv s3\nrecv s3 &\npending\ncancel blocking\nwait 2\n\
         address s2 peer\nclose s2 gracefully\nrecv s3\nsocket datagram\nbind {two}\nsendto {two} \"to myself\"\nrecvfrom\n\
         recvfrom 4 &\nsendto {two} \"to myself\"\nwait 3\nsockets\nledger\ncleanup\nsockets\ncleanup namespace\n"
    );
    let output = run(&["shell"], script.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    let mut rest = told.as_str();
    for part in [
        "[::1]:80, 127.0.0.1:80\n",
        "localhost http\n",
        "version 1.1",
        "[1] wait for events: accept\n",
        "s3: accepted",
        "\n1\n",
        "\n5 s\n",
        "3 bytes\nread\n3\n3 bytes \"a\\r\\n\"\n",
        "receive on 0x",
        "(WSAEINTR, 10004)",
        &format!("{one}\n"),
        "the peer's end\n",
        &format!("9 bytes \"to myself\" from {two}\n"),
        &format!("4 bytes \"to m\", cut off from {two}\n"),
        "s4   datagram socket of application\n",
        "registered as a WSK client",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing, or in another place, in\n{told}"));
        rest = &rest[at + part.len()..];
    }
    assert!(rest.ends_with("ok\nok\n"), "sockets went with their provider: {rest}");
}

#[test]
fn ctrl_c_ends_a_shell_that_waits_for_lines() {
    let mut child = wskctl().arg("shell").spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // Held to the end: the end of the input would end the shell, too.
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"startup application\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    thread::sleep(Duration::from_millis(100));
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("the shell: Ctrl-C ended it"));
}

#[test]
fn at_a_terminal_lines_are_kept_for_the_next_shell() {
    let history = env::temp_dir().join(format!("wskctl-history-{}", std::process::id()));
    let session = || {
        let mut command = Command::new(env::var_os("WSKCTL").expect("WSKCTL names no wskctl"));
        command.args(["--backend", "lab", "shell"]).env("TERM", "xterm").env("WSKCTL_HISTORY", &history);
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap() * 3;
        let mut session = rexpect::session::spawn_command(command, Some(patience)).unwrap();
        session.exp_string("wskctl> ").unwrap();
        session
    };
    let mut first = session();
    first.send_line("startup application").unwrap();
    first.exp_string("version 2.2").unwrap();
    first.exp_string("wskctl> ").unwrap();
    first.send_control('d').unwrap();
    first.exp_eof().unwrap();
    let mut second = session();
    // The key for the line before.
    second.send_control('p').unwrap();
    second.exp_string("startup application").unwrap();
    second.send_line("").unwrap();
    second.exp_string("version 2.2").unwrap();
    second.exp_string("wskctl> ").unwrap();
    second.send_control('d').unwrap();
    second.exp_eof().unwrap();
    std::fs::remove_file(&history).unwrap();
}

#[test]
fn at_a_terminal_the_shell_prompts_completes_cancels_at_ctrl_c_and_leaves_at_ctrl_d() {
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap() * 3;
    let mut command = Command::new(env::var_os("WSKCTL").expect("WSKCTL names no wskctl"));
    command.args(["--backend", "lab", "shell"]).env("TERM", "xterm").env("WSKCTL_HISTORY", "");
    let mut session = rexpect::session::spawn_command(command, Some(patience)).unwrap();
    session.exp_string("wskctl> ").unwrap();
    session.send("start\tapp\t2.2\n").unwrap();
    session.flush().unwrap();
    session.exp_string("version 2.2").unwrap();
    session.exp_string("wskctl> ").unwrap();
    session.send_line("socket listen").unwrap();
    session.exp_string("wskctl> ").unwrap();
    session.send_line(&format!("listen {:?}", unused_address())).unwrap();
    session.exp_string("ok").unwrap();
    session.exp_string("wskctl> ").unwrap();
    session.send_line("accept").unwrap();
    // Ctrl-C means the accept once the line editor has given the terminal up (bracketed paste goes off).
    session.exp_string("\x1b[?2004l").unwrap();
    eventually("Ctrl-C cancels the accept", || {
        session.send_control('c').unwrap();
        session.exp_string("WSA_OPERATION_ABORTED").is_ok()
    });
    session.exp_string("wskctl> ").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    let status = format!("{:?}", session.process().wait());
    assert!(status.contains("Exited(") && status.ends_with(", 0))"), "{status}");
}
