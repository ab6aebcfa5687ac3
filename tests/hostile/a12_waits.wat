;; world: strategy
;; Starts one call of a tool that is not there, and waits for it as many times in one list as its prompt says.
(module
  (import "hermes:plugin/tools@0.1.0" "start" (func $start (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "hermes:plugin/tools@0.1.0" "wait-any" (func $wait_any (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 200)
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (data (i32.const 32) "nobody")
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $call i32) (local $all i32) (local $n i32)
    (local.set $call
      (call $start (i32.const 32) (i32.const 1) (i32.const 32) (i32.const 6) (i32.const 0) (i32.const 0)))
    (local.set $all (call $number (local.get $task)))
    (loop $next
      (i32.store (i32.add (i32.const 6000000) (i32.shl (local.get $n) (i32.const 2))) (local.get $call))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $all))))
    (call $wait_any (i32.const 6000000) (local.get $all) (i32.const 0) (i32.const 0) (i32.const 1024))
    ;; The first of them has ended.
    (if (i32.ne (i32.load8_u (i32.const 1024)) (i32.const 1)) (then unreachable))
    (if (i32.load (i32.const 1028)) (then unreachable))
    (call $done)))
