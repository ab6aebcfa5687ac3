;; world: strategy
;; import: wasi:cli/stdout@0.2.0
;; import: wasi:cli/stderr@0.2.0
;; import: wasi:io/streams@0.2.0
;; Writes 4,096 bytes at a time to standard output and standard error, as often as its prompt says: a line of 4,095 bytes; with the letter o one that
;; never ends, in whose middle letters of two bytes are cut; with the letter b 4,096 lines that are empty.
(module
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
  ;; part: memory
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $all i32) (local $n i32) (local $out i32) (local $err i32)
    (local.set $all (call $number (local.get $task)))
    (local.set $out (call $stdout))
    (local.set $err (call $stderr))
    (i32.store8 (i32.const 16384) (i32.const 120))
    (local.set $n (i32.const 16385))
    (loop $letter
      (i32.store16 (local.get $n) (i32.const 0xa9c3))
      (local.set $n (i32.add (local.get $n) (i32.const 2)))
      (br_if $letter (i32.lt_u (local.get $n) (i32.const 20480))))
    (local.set $n (i32.const 0))
    (if (i32.ne (call $letter (local.get $task)) (i32.const 111))
      (then (memory.fill (i32.const 16384) (i32.const 120) (i32.const 4095))
        (i32.store8 (i32.const 20479) (i32.const 10))))
    (if (i32.eq (call $letter (local.get $task)) (i32.const 98))
      (then (memory.fill (i32.const 16384) (i32.const 10) (i32.const 4096))))
    (loop $next
      (call $write (local.get $out) (i32.const 16384) (i32.const 4096) (i32.const 1024))
      (call $write (local.get $err) (i32.const 16384) (i32.const 4096) (i32.const 1024))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $all))))
    (call $done)))
