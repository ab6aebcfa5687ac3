;; world: tool
;; import: wasi:cli/environment@0.2.0
;; A tool that looks at what it was started with: ten thousand for each variable of its environment, a hundred for each argument, and one where it is
;; told a folder.
(module
  (import "wasi:cli/environment@0.2.0" "get-environment" (func $variables (param i32)))
  (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
  (import "wasi:cli/environment@0.2.0" "initial-cwd" (func $folder (param i32)))
  ;; part: memory
  ;; part: tool
  (func (export "hermes:plugin/toolset@0.1.0#call") (param i32 i32 i32 i32 i32 i32) (result i32)
    (call $variables (i32.const 1024))
    (call $arguments (i32.const 1032))
    (call $folder (i32.const 1040))
    (call $answer
      (i32.add (i32.mul (i32.const 10000) (i32.load (i32.const 1028)))
        (i32.add (i32.mul (i32.const 100) (i32.load (i32.const 1036)))
          (i32.load8_u (i32.const 1040)))))))
