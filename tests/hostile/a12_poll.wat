;; world: strategy
;; import: wasi:clocks/monotonic-clock@0.2.0
;; import: wasi:io/poll@0.2.0
;; Waits for one timer that has ended, as many times in one list as its prompt says.
(module
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
  (memory (export "memory") 200)
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $timer i32) (local $all i32) (local $n i32)
    (local.set $timer (call $subscribe (i64.const 0)))
    (local.set $all (call $number (local.get $task)))
    (loop $next
      (i32.store (i32.add (i32.const 6000000) (i32.shl (local.get $n) (i32.const 2))) (local.get $timer))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $all))))
    (call $poll (i32.const 6000000) (local.get $all) (i32.const 1024))
    (call $done)))
