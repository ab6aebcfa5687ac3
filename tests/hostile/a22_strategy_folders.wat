;; world: strategy
;; import: wasi:filesystem/preopens@0.2.0
;; A strategy that asks which folders it has. Its answer is how many, one digit.
(module
  (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $folders (param i32)))
  ;; part: memory
  ;; part: strategy
  (func (export "hermes:plugin/agent@0.1.0#run") (param i32) (result i32)
    (drop (call $done))
    (call $folders (i32.const 1024))
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (i32.load (i32.const 1028))))
    (i32.store (i32.const 72) (i32.const 512))
    (i32.store (i32.const 76) (i32.const 1))
    (i32.const 64)))
