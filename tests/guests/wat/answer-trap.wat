;; world: strategy
;; Appends an entry to the blackboard, and traps when it is asked where to put the key.
(module
  (import "hermes:plugin/blackboard@0.1.0" "open" (func $open (param i32 i32 i32)))
  (import "hermes:plugin/blackboard@0.1.0" "[method]space.append"
    (func $append (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "traps")
  (data (i32.const 40) "text/plain")
  (global $traps (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (global.get $traps) (then (unreachable)))
    (i32.const 4096))
  (func (export "hermes:plugin/agent@0.1.0#describe") (result i32) (unreachable))
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (call $open (i32.const 32) (i32.const 5) (i32.const 1024))
    (global.set $traps (i32.const 1))
    ;; Under the prefix "traps", with the value "traps".
    (call $append (i32.load (i32.const 1028)) (i32.const 32) (i32.const 5)
      (i32.const 40) (i32.const 10) (i32.const 32) (i32.const 5) (i32.const 1024))
    (unreachable)))
