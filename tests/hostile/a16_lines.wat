;; world: strategy
;; Logs as many lines of 1,000 bytes as its prompt says.
(module
  (import "hermes:plugin/session@0.1.0" "log" (func $log (param i32 i32 i32)))
  ;; part: memory
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $all i32) (local $n i32)
    (local.set $all (call $number (local.get $task)))
    (memory.fill (i32.const 16384) (i32.const 120) (i32.const 1000))
    (loop $next
      (call $log (i32.const 2) (i32.const 16384) (i32.const 1000))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $all))))
    (call $done)))
