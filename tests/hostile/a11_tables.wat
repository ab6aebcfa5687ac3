;; world: tool
;; Fails to grow a table by ten million elements, then grows two tables by one at a time until both refuse: how many they have together.
(module
  ;; part: memory
  (table $a 0 funcref)
  (table $b 0 funcref)
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (if (i32.ne (table.grow $a (ref.null func) (i32.const 10000000)) (i32.const -1)) (then (unreachable)))
    (loop $grow
      (br_if $grow (i32.ne (table.grow $a (ref.null func) (i32.const 1)) (i32.const -1)))
      (br_if $grow (i32.ne (table.grow $b (ref.null func) (i32.const 1)) (i32.const -1))))
    (call $answer (i32.add (table.size $a) (table.size $b)))))
