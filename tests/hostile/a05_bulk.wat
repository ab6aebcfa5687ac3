;; world: strategy
;; Fills (f) or copies (c) all of a 63 MiB memory, or fills (t) or initialises (i) all of a table, over and over. Each is one instruction.
(module
  (memory (export "memory") 1008)
  (table $all 19000 funcref)
  (elem $some funcref (ref.func $letter) (ref.null func))
  ;; part: room
  ;; part: strategy
  ;; part: prompt
  (func (export "hermes:plugin/agent@0.1.0#run") (param $task i32) (result i32)
    (local $what i32)
    (local.set $what (call $letter (local.get $task)))
    (loop $ever
      (if (i32.eq (local.get $what) (i32.const 102))
        (then (memory.fill (i32.const 0) (i32.const 7) (i32.const 66060288))))
      (if (i32.eq (local.get $what) (i32.const 99))
        (then (memory.copy (i32.const 0) (i32.const 1) (i32.const 66060287))))
      (if (i32.eq (local.get $what) (i32.const 116))
        (then (table.fill $all (i32.const 0) (ref.null func) (i32.const 19000))))
      (if (i32.eq (local.get $what) (i32.const 105))
        (then (table.init $all $some (i32.const 0) (i32.const 0) (i32.const 2))
          (table.copy $all $all (i32.const 1) (i32.const 0) (i32.const 18999))))
      (br $ever))
    (call $done)))
