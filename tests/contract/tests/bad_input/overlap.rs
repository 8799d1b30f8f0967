//! Buffers that overlap. The I/O manager copies the input (*Buffer Descriptions for I/O Control Codes*), so the driver finds the
//! request's fields in the system buffer and, where both overlap, in the memory of the answer or of the data too.

use super::victim::Victim;
use contract::{APPLICATION, GLANCE, Lab, PATIENCE, abi::Ioctl, raw::well_formed, traffic::connected};

/// contract: CARD-2
#[test]
fn a_request_whose_buffers_overlap_is_answered_as_any_other() {
    for &ioctl in Ioctl::ALL {
        let [apart, overlapping] = [false, true].map(|overlap| {
            let victim = Victim::new();
            let (input, output) = well_formed(ioctl, victim.socket_for(ioctl));
            let mut memory = vec![0; output];
            if overlap {
                let shared = input.len().min(output);
                memory[..shared].copy_from_slice(&input[..shared]);
            }
            let mut request = victim.client.handle().submit(ioctl as u32, &input, memory);
            let at_once = request.wait(GLANCE);
            let completion = at_once.or_else(|| {
                request.cancel();
                request.wait(PATIENCE)
            });
            let completion = completion.expect("it ends");
            (completion.status, completion.information)
        });
        assert_eq!(overlapping, apart, "{ioctl:?}");
    }
}

/// contract: CARD-2
#[test]
fn data_that_overlaps_its_request_goes_out_and_comes_in_as_it_is() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let (input, _) = well_formed(Ioctl::Send, connection.socket.handle());
    let mut send = client.handle().submit(Ioctl::Send as u32, &input, input.clone());
    assert_eq!(send.wait(PATIENCE).unwrap().information, input.len());
    assert_eq!(connection.peer.receive(input.len()).unwrap(), input);
    connection.peer.send(&[7; 8]).unwrap();
    let mut receive = client.handle().submit(Ioctl::Receive as u32, &input, input.clone());
    let completion = receive.wait(PATIENCE).unwrap();
    assert_eq!((completion.status, &completion.buffer[..completion.information]), (0, &[7; 8][..]));
}
