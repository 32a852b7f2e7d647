//! The form of histories: lines come back as they were written and are of Jepsen's shape, what is no history is
//! refused with its line, and events become operations.

use super::*;

fn sample() -> History {
    let mut history = History::new();
    history.invoke(
        1,
        10,
        "a",
        &Call::Cas { expected: 0, value: "x".into(), ttl_ms: None, keep_ttl: false },
    );
    history.invoke(2, 10, "a", &Call::Delete { expected: Some(4) });
    history.complete(1, 20, &OpOutcome::Ok(Reply::Written { version: 7 }));
    history.complete(2, 25, &OpOutcome::Refused(Some(Record { version: 7, value: "x".into() })));
    history.invoke(1, 30, "n", &Call::Increment { delta: -3 });
    history.complete(1, 40, &OpOutcome::Unknown);
    history.invoke(2, 41, "", &Call::Scan);
    history.complete(2, 42, &OpOutcome::Ok(Reply::Scanned(Vec::new())));
    history.invoke(2, 43, "set/", &Call::Scan);
    history.complete(2, 44, &OpOutcome::Failed);
    history.invoke(2, 45, "l", &Call::Append { element: 4 });
    history.complete(2, 46, &OpOutcome::Ok(Reply::Appended));
    history.invoke(2, 47, "l", &Call::List);
    history.complete(2, 48, &OpOutcome::Ok(Reply::Listed(vec![4])));
    history.invoke(2, 49, "l", &Call::List);
    history.complete(2, 50, &OpOutcome::Failed);
    history.invoke(2, 51, "l", &Call::Append { element: 5 });
    history.complete(2, 52, &OpOutcome::Unknown);
    history.invoke(3, 53, "a", &Call::Read);
    history
}

#[test]
fn lines_come_back_as_they_were_written() {
    let history = sample();
    let mut bytes = Vec::new();
    history.write_jsonl(&mut bytes).unwrap();
    let back = History::read_jsonl(&bytes[..]).unwrap();
    assert_eq!(back.events(), history.events());
    assert_eq!(back.operations(), history.operations());
}

/// Outside checkers read this: nothing more, nothing less, nothing else.
#[test]
fn lines_are_of_jepsens_shape() {
    let mut bytes = Vec::new();
    sample().write_jsonl(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (at, expected) in [
        (
            1,
            r#"{"process":2,"type":"invoke","f":"delete","value":["a",{"expected":4}],"time":10,"index":1}"#,
        ),
        (
            3,
            r#"{"process":2,"type":"fail","f":"delete","value":["a",{"current":{"value":"x","version":7}}],"time":25,"index":3}"#,
        ),
        (
            4,
            r#"{"process":1,"type":"invoke","f":"increment","value":["n",-3],"time":30,"index":4}"#,
        ),
        (
            5,
            r#"{"process":1,"type":"info","f":"increment","value":["n",null],"time":40,"index":5}"#,
        ),
        (6, r#"{"process":2,"type":"invoke","f":"scan","value":[null,null],"time":41,"index":6}"#),
        (7, r#"{"process":2,"type":"ok","f":"scan","value":[null,[]],"time":42,"index":7}"#),
        (9, r#"{"process":2,"type":"fail","f":"scan","value":["set/",null],"time":44,"index":9}"#),
        (
            11,
            r#"{"process":2,"type":"ok","f":"txn","value":[["append","l",4]],"time":46,"index":11}"#,
        ),
        (
            12,
            r#"{"process":2,"type":"invoke","f":"txn","value":[["r","l",null]],"time":47,"index":12}"#,
        ),
        (13, r#"{"process":2,"type":"ok","f":"txn","value":[["r","l",[4]]],"time":48,"index":13}"#),
        (
            15,
            r#"{"process":2,"type":"fail","f":"txn","value":[["r","l",null]],"time":50,"index":15}"#,
        ),
        (
            17,
            r#"{"process":2,"type":"info","f":"txn","value":[["append","l",5]],"time":52,"index":17}"#,
        ),
    ] {
        assert_eq!(lines[at], expected);
    }
}

#[test]
fn events_become_operations() {
    let ops = sample().operations();
    assert_eq!(ops.len(), 10);
    assert_eq!(ops[5].outcome, OpOutcome::Ok(Reply::Appended));
    assert_eq!(ops[6].outcome, OpOutcome::Ok(Reply::Listed(vec![4])));
    assert_eq!(ops[7].outcome, OpOutcome::Failed);
    assert_eq!(ops[8].outcome, OpOutcome::Unknown);
    assert_eq!(ops[9].outcome, OpOutcome::Unknown, "never completed");
    assert_eq!(ops[0].outcome, OpOutcome::Ok(Reply::Written { version: 7 }));
    assert_eq!((ops[0].invoke_ns, ops[0].complete_ns), (10, Some(20)));
    assert!(matches!(ops[1].outcome, OpOutcome::Refused(Some(_))));
    assert_eq!((ops[2].outcome.clone(), ops[2].complete_ns), (OpOutcome::Unknown, None));
    assert_eq!(ops[3].outcome, OpOutcome::Ok(Reply::Scanned(Vec::new())));
}

#[test]
fn a_page_comes_back_as_it_was_written() {
    let mut history = History::new();
    let asked =
        PageAsked { end: "b".into(), reverse: true, limit: 1, at: 7, ..PageAsked::default() };
    history.invoke(1, 10, "", &Call::Page(asked));
    let records = vec![Entry { key: "a".into(), version: 7, value: "x".into() }];
    let page = Paged { at: 7, records, next: None };
    history.complete(1, 20, &OpOutcome::Ok(Reply::Paged(page)));
    let mut bytes = Vec::new();
    history.write_jsonl(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let expected = [
        r#"{"process":1,"type":"invoke","f":"page","value":[null,{"at":7,"end":"b","keys_only":false,"limit":1,"reverse":true,"start":""}],"time":10,"index":0}"#,
        r#"{"process":1,"type":"ok","f":"page","value":[null,{"at":7,"next":null,"records":[{"key":"a","value":"x","version":7}]}],"time":20,"index":1}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let back = History::read_jsonl(&bytes[..]).unwrap();
    assert_eq!(back.operations(), history.operations());
}

#[test]
fn a_timestamp_comes_back_as_it_was_written() {
    let mut history = History::new();
    history.invoke(1, 10, "", &Call::Timestamp);
    history.complete(1, 20, &OpOutcome::Ok(Reply::Timestamp { version: 7 }));
    let mut bytes = Vec::new();
    history.write_jsonl(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let expected = [
        r#"{"process":1,"type":"invoke","f":"timestamp","value":[null,null],"time":10,"index":0}"#,
        r#"{"process":1,"type":"ok","f":"timestamp","value":[null,{"version":7}],"time":20,"index":1}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let back = History::read_jsonl(&bytes[..]).unwrap();
    assert_eq!(back.operations(), history.operations());
}

#[test]
fn a_feed_comes_back_as_it_was_written() {
    let mut history = History::new();
    let asked = WatchAsked { after: 5, after_key: "a".into(), is_key: false };
    history.invoke(1, 10, "", &Call::Watch(asked));
    let changes = vec![Changed { key: "b".into(), version: 5, value: None }];
    let seen = WatchSeen { from: 5, changes, upto: 9, upto_key: String::new() };
    history.complete(1, 20, &OpOutcome::Ok(Reply::Watched(seen)));
    let mut bytes = Vec::new();
    history.write_jsonl(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let expected = [
        r#"{"process":1,"type":"invoke","f":"watch","value":[null,{"after":5,"after_key":"a","is_key":false}],"time":10,"index":0}"#,
        r#"{"process":1,"type":"ok","f":"watch","value":[null,{"changes":[{"key":"b","value":null,"version":5}],"from":5,"upto":9,"upto_key":""}],"time":20,"index":1}"#,
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let back = History::read_jsonl(&bytes[..]).unwrap();
    assert_eq!(back.operations(), history.operations());
}

#[test]
fn errors_name_the_line() {
    let good = r#"{"process":1,"type":"invoke","f":"read","value":["a",null],"time":5,"index":0}"#;
    let cases = [
        ("{", "line 2: not an event"),
        (
            r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":4,"index":1}"#,
            "line 2: time 4",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":9,"index":2}"#,
            "line 2: index 2",
        ),
        (
            r#"{"process":1,"type":"invoke","f":"read","value":["a",null],"time":9,"index":1}"#,
            "line 2: process 1 asks",
        ),
        (
            r#"{"process":1,"type":"ok","f":"read","value":["a","text"],"time":9,"index":1}"#,
            "line 2: ",
        ),
        (
            r#"{"process":1,"type":"ok","f":"read","value":["b",null],"time":9,"index":1}"#,
            "line 2: process 1 completes",
        ),
        (
            r#"{"process":2,"type":"ok","f":"read","value":["a",null],"time":9,"index":1}"#,
            "line 2: process 2 completes",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","value":["a",null],"time":9,"index":1,"x":1}"#,
            "line 2: not an event",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","value":"a","time":9,"index":1}"#,
            "line 2: not an event",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","value":[null,null],"time":9,"index":1}"#,
            "line 2: not an event: only a scan",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"touch","value":["a",null],"time":9,"index":1}"#,
            "line 2: not an event: \"touch\" is no operation",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"txn","value":[["w","a",1]],"time":9,"index":1}"#,
            "line 2: not an event: \"w\" is no micro",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"txn","value":[["append","a",1],["append","a",2]],"time":9,"index":1}"#,
            "line 2: not an event",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"txn","value":[["append","a","1"]],"time":9,"index":1}"#,
            "line 2: not an event",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"txn","value":[["r","a",[1]]],"time":9,"index":1}"#,
            "line 2: List cannot be asked",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","time":9,"index":1}"#,
            "line 2: not an event: missing field `value`",
        ),
    ];
    for (bad, expect) in cases {
        let error = History::read_jsonl(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(expect), "{error} for {bad}");
    }
}

#[test]
fn an_append_ends_with_the_element_that_it_began_with() {
    let good =
        r#"{"process":1,"type":"invoke","f":"txn","value":[["append","a",1]],"time":5,"index":0}"#;
    let bad =
        r#"{"process":1,"type":"ok","f":"txn","value":[["append","a",2]],"time":9,"index":1}"#;
    let error = History::read_jsonl(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("line 2: process 1 completes an append"), "{error}");
}

#[test]
#[should_panic(expected = "acts again")]
fn a_process_with_an_unknown_outcome_is_retired() {
    let mut history = History::new();
    history.invoke(1, 0, "a", &Call::Write { value: "x".into(), ttl_ms: None });
    history.complete(1, 1, &OpOutcome::Unknown);
    history.invoke(1, 2, "a", &Call::Read);
}
