use proptest::prelude::*;

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

static PEER: HeaderValue = HeaderValue::from_static("203.0.113.7");
static PORT: HeaderValue = HeaderValue::from_static("443");
static HOST: HeaderValue = HeaderValue::from_static("3000-ws.pool.test");

fn client(trusted: bool) -> ForwardedClient<'static> {
    ForwardedClient { peer: &PEER, trusted, https: true, host: &HOST, port: &PORT }
}

#[test]
fn hop_by_hop_fields_and_those_named_by_connection_go() {
    let mut headers = map(&[
        ("connection", "X-Secret-Hop, keep-alive, Hop2"),
        ("connection", "close"),
        ("x-secret-hop", "stays: a pod may rely on X- fields"),
        ("hop2", "goes"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers, deflate"),
        ("trailer", "X"),
        ("proxy-authorization", "Basic x"),
        ("proxy-connection", "keep-alive"),
        ("accept", "*/*"),
    ]);
    let asked = strip_hop_by_hop(&mut headers);
    assert_eq!(asked, HopByHop { websocket: false, trailers: true });
    let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    // Trailer stays: the fields that it announces are passed on.
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(headers.contains_key("accept") && headers.contains_key("x-secret-hop"));
}

#[test]
fn connection_cannot_take_the_pods_fields_away() {
    let mut headers = map(&[
        ("connection", "Host, Cookie, Authorization, X-Forwarded-For, Content-Length, Origin"),
        ("host", "h"),
        ("cookie", "a=b"),
        ("authorization", "Bearer t"),
        ("x-forwarded-for", "1.2.3.4"),
        ("content-length", "5"),
        ("origin", "http://h"),
    ]);
    strip_hop_by_hop(&mut headers);
    assert_eq!(headers.len(), 6);
}

#[test]
fn only_websocket_is_an_upgrade() {
    for (connection, upgrade, websocket) in [
        ("Upgrade", "websocket", true),
        ("keep-alive, upgrade", "WebSocket", true),
        ("Upgrade, HTTP2-Settings", "h2c", false),
        ("Upgrade", "websocket, h2c", false),
        ("keep-alive", "websocket", false),
    ] {
        let mut headers = map(&[("connection", connection), ("upgrade", upgrade), ("http2-settings", "AAM")]);
        assert_eq!(strip_hop_by_hop(&mut headers).websocket, websocket, "{connection} {upgrade}");
        assert!(headers.is_empty());
    }
    let mut two = map(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")]);
    assert!(!strip_hop_by_hop(&mut two).websocket);
}

#[test]
fn only_chunked_alone_is_a_plain_transfer_encoding() {
    assert!(is_plainly_framed(&map(&[])));
    assert!(is_plainly_framed(&map(&[("transfer-encoding", "Chunked")])));
    for lines in [
        &[("transfer-encoding", "gzip, chunked")][..],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "identity")],
        &[("transfer-encoding", "\"chunked\"")],
    ] {
        assert!(!is_plainly_framed(&map(lines)), "{lines:?}");
    }
}

#[test]
fn a_clients_own_forwarded_fields_are_replaced() {
    let mut headers = map(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-server", "evil"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
    ]);
    let groups = FieldGroups::of(&headers);
    set_forwarded(&mut headers, groups, client(false));
    assert_eq!(headers.len(), 4);
    assert_eq!(headers[X_FORWARDED_FOR], "203.0.113.7");
    assert_eq!(headers[X_FORWARDED_PROTO], "https");
    assert_eq!(headers[X_FORWARDED_HOST], "3000-ws.pool.test");
    assert_eq!(headers[X_FORWARDED_PORT], "443");
}

#[test]
fn a_trusted_proxys_fields_are_added_to() {
    let mut headers = map(&[
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=1.1.1.1"),
    ]);
    let groups = FieldGroups::of(&headers);
    set_forwarded(&mut headers, groups, client(true));
    assert_eq!(headers[X_FORWARDED_FOR], "1.1.1.1, 2.2.2.2, 203.0.113.7");
    assert_eq!(headers[X_FORWARDED_PROTO], "http");
    assert_eq!(headers[FORWARDED], "for=1.1.1.1, for=203.0.113.7;host=\"3000-ws.pool.test\";proto=https");
}

#[test]
fn underscored_spellings_of_what_is_believed_go() {
    let mut headers = map(&[("x_forwarded_for", "6.6.6.6"), ("x_auth_user", "root"), ("my_header", "stays")]);
    strip_underscored(&mut headers);
    assert_eq!(headers.len(), 1);
}

#[test]
fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let behind = |lines: &[(&str, &str)], peer: &str| client_behind(&map(lines), ip(peer), &trusted);
    let chain = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(behind(&chain, "10.0.0.1"), ip("203.0.113.9"));
    assert_eq!(behind(&chain, "198.51.100.1"), ip("198.51.100.1"));
    assert_eq!(behind(&[("x-forwarded-for", "nonsense")], "10.0.0.1"), ip("10.0.0.1"));
    assert_eq!(behind(&[("x-forwarded-for", "[2001:db8::1]")], "10.0.0.1"), ip("2001:db8::1"));
}

proptest! {
    #[test]
    fn nothing_hop_by_hop_is_left(names in prop::collection::vec("[a-z-]{1,12}", 0..6), connection in "[ -~]{0,60}") {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, connection.parse().unwrap());
        for name in names.iter().chain([&"te".to_owned(), &"upgrade".to_owned()]) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), "v".parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        prop_assert!(!FieldGroups::of(&headers).hop_by_hop);
        prop_assert!(!headers.contains_key(header::CONNECTION));
    }

    #[test]
    fn an_untrusted_client_cannot_choose_its_address(value in "[ -~]{0,40}", name in "(x-forwarded-[a-z]{1,8}|forwarded|x-real-ip)") {
        let mut headers = map(&[(&name, &value)]);
        let groups = FieldGroups::of(&headers);
        set_forwarded(&mut headers, groups, client(false));
        prop_assert!(!headers.contains_key(FORWARDED) && !headers.contains_key(X_REAL_IP));
        prop_assert_eq!(headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>(), vec![&PEER]);
        prop_assert_eq!(headers.len(), 4);
    }
}
