;; world: strategy
;; Opens a space, and then uses the handle of this number (fN), one that it dropped (u), drops one twice (d), or uses one of another kind (w).
(module
  (import "hermes:plugin/blackboard@0.1.0" "open" (func $open (param i32 i32 i32)))
  (import "hermes:plugin/blackboard@0.1.0" "[method]space.get" (func $get (param i32 i32 i32 i32)))
  (import "hermes:plugin/blackboard@0.1.0" "[resource-drop]space" (func $drop_space (param i32)))
  (import "hermes:plugin/tools@0.1.0" "[method]pending-call.wait" (func $wait (param i32 i32)))
  ;; part: memory
  ;; part: strategy
  ;; part: prompt
  (data (i32.const 32) "notes")
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $what i32) (local $space i32)
    (local.set $what (call $letter (local.get $task)))
    (call $open (i32.const 32) (i32.const 5) (i32.const 1024))
    (local.set $space (i32.load (i32.const 1028)))
    (if (i32.eq (local.get $what) (i32.const 102))
      (then (call $get (call $number (local.get $task)) (i32.const 32) (i32.const 5) (i32.const 1024))))
    (if (i32.eq (local.get $what) (i32.const 117))
      (then (call $drop_space (local.get $space))
        (call $get (local.get $space) (i32.const 32) (i32.const 5) (i32.const 1024))))
    (if (i32.eq (local.get $what) (i32.const 100))
      (then (call $drop_space (local.get $space))
        (call $drop_space (local.get $space))))
    (if (i32.eq (local.get $what) (i32.const 119))
      (then (call $wait (local.get $space) (i32.const 1024))))
    (call $done)))
