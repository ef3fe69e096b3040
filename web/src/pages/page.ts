/** What a page is to the frame around it. */
export interface Page {
  title: string;
  element: HTMLElement;
  leave: () => void;
}
